// Reads the kernel's table of TCP connections: what it still has to send, and how long it has been trying in vain.

import { readFile } from 'node:fs/promises';
import { isIPv4 } from 'node:net';
import type { Socket } from 'node:net';
import { unless } from '../util/errno.ts';

const TABLES = ['/proc/self/net/tcp', '/proc/self/net/tcp6'];

/** What the kernel waits for on a connection. */
export type TcpEntry = {
  /** Bytes that the peer's kernel has not acknowledged; a FIN counts as one. */
  readonly unsent: number;
  /** Times that the oldest of them was sent again without an answer; 0 as soon as one comes. */
  readonly retransmits: number;
  /** Questions to a peer that is silent or has no room, without an answer; 0 as soon as one comes. */
  readonly probes: number;
  /** The peer has sent its FIN, and we have not sent ours. */
  readonly peerEnded: boolean;
};

/** As the kernel numbers the states of a connection. */
const CLOSE_WAIT = '08';
/** All who ask for one entry within this time share one reading: the table holds every connection of the machine. */
const SHARED_MS = 1_000;

let reading: { readonly at: number; readonly table: Promise<ReadonlyMap<string, TcpEntry>> } | undefined;

/**
 * What the table said of the connection with this `tcpKey` within the last second; undefined when it is not known (any more).
 * @throws Error when the table cannot be read, which says nothing of the connection
 */
export async function recentTcpEntry(key: string | undefined): Promise<TcpEntry | undefined> {
  if (key === undefined) return undefined;
  const now = performance.now();
  if (reading === undefined || now - reading.at > SHARED_MS) reading = { at: now, table: readTcpTable() };
  const { table } = reading;
  try {
    return (await table).get(key);
  } catch (error) {
    // Whoever asks next asks the kernel again.
    if (reading?.table === table) reading = undefined;
    throw error;
  }
}

/**
 * By `tcpKey`. Takes milliseconds of a thread: the kernel walks its whole hash table.
 * @throws Error when it cannot be read: no descriptor is left
 */
export async function readTcpTable(): Promise<ReadonlyMap<string, TcpEntry>> {
  const entries = new Map<string, TcpEntry>();
  for (const path of TABLES) {
    // Missing where a kernel has no IPv6.
    const text = (await unless(['ENOENT'], readFile(path, 'latin1'))) ?? '';
    for (const line of text.split('\n')) addLine(entries, line);
  }
  return entries;
}

/** The name of a socket's connection in the table; undefined when it has none (any more). */
export function tcpKey(socket: Socket): string | undefined {
  const { localAddress, localPort, remoteAddress, remotePort } = socket;
  if (localAddress === undefined || localPort === undefined || remoteAddress === undefined || remotePort === undefined)
    return undefined;
  return `${hexAddress(localAddress)}:${hexPort(localPort)} ${hexAddress(remoteAddress)}:${hexPort(remotePort)}`;
}

/**
 * `  12: 0100007F:1F90 0100007F:C350 01 00000A2F:00000000 01:00000014 00000002 0 0 ...`: number, local, remote, state, transmit queue :
 * receive queue, timer : when, retransmits, user, probes.
 */
function addLine(entries: Map<string, TcpEntry>, line: string): void {
  const [, local, remote, state, queues = '', , retransmits = '', , probes = ''] = line.trim().split(/\s+/);
  const unsent = Number.parseInt(queues, 16);
  if (local === undefined || remote === undefined || Number.isNaN(unsent)) return;
  entries.set(`${local} ${remote}`, {
    unsent,
    retransmits: Number.parseInt(retransmits, 16),
    probes: Number.parseInt(probes, 10),
    peerEnded: state === CLOSE_WAIT,
  });
}

const hexPort = (port: number): string => port.toString(16).toUpperCase().padStart(4, '0');

/** As the kernel prints addresses: words of 32 bits in the order of a little-endian machine, which all of ours are. */
function hexAddress(address: string): string {
  const bytes = isIPv4(address) ? ipv4Bytes(address) : ipv6Bytes(address);
  let text = '';
  for (let word = 0; word < bytes.length; word += 4) {
    for (const byte of bytes.slice(word, word + 4).reverse()) text += byte.toString(16).toUpperCase().padStart(2, '0');
  }
  return text;
}

const ipv4Bytes = (address: string): number[] => address.split('.').map(Number);

/** Of a valid address, as Node gives them: `::` at most once, a dotted IPv4 address at the end, a zone behind `%`. */
function ipv6Bytes(address: string): number[] {
  const [plain = ''] = address.split('%');
  const [front = '', back] = plain.split('::');
  const head = groupBytes(front);
  const tail = groupBytes(back ?? '');
  return [...head, ...Array.from({ length: 16 - head.length - tail.length }, () => 0), ...tail];
}

function groupBytes(groups: string): number[] {
  if (groups === '') return [];
  return groups.split(':').flatMap((group) => {
    if (group.includes('.')) return ipv4Bytes(group);
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}
