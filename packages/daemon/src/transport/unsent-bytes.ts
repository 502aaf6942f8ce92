// Tells how much of a connection's output the peer's kernel has not acknowledged; Node knows only what the own kernel has taken.

import { readFile } from 'node:fs/promises';

const TABLES = ['/proc/self/net/tcp', '/proc/self/net/tcp6'];
/** All who ask within this time share one reading: the tables hold every connection of the machine. */
const SHARED_MS = 1_000;

let reading: { readonly at: number; readonly table: Promise<ReadonlyMap<string, number>> } | undefined;

/**
 * Bytes sent and not acknowledged between two ports; a FIN counts as one. 0 when the connection is not known any more. Addresses are left
 * out: a port pair that two peers share adds up, which can only make a wait longer.
 */
export async function unsentBytes(localPort: number, remotePort: number): Promise<number> {
  const now = performance.now();
  if (reading === undefined || now - reading.at > SHARED_MS) reading = { at: now, table: readTables() };
  return (await reading.table).get(`${localPort}:${remotePort}`) ?? 0;
}

async function readTables(): Promise<ReadonlyMap<string, number>> {
  const queues = new Map<string, number>();
  for (const path of TABLES) {
    const text = await readFile(path, 'latin1').catch(() => '');
    for (const line of text.split('\n')) addLine(queues, line);
  }
  return queues;
}

/** `  12: 0100007F:1F90 0100007F:C350 01 00000A2F:00000000 ...`: number, local, remote, state, transmit queue : receive queue. */
function addLine(queues: Map<string, number>, line: string): void {
  const fields = line.trim().split(/\s+/);
  const local = portOf(fields[1]);
  const remote = portOf(fields[2]);
  const unsent = Number.parseInt(fields[4] ?? '', 16);
  if (Number.isNaN(local) || Number.isNaN(remote) || Number.isNaN(unsent)) return;
  const key = `${local}:${remote}`;
  queues.set(key, (queues.get(key) ?? 0) + unsent);
}

function portOf(address: string | undefined): number {
  return Number.parseInt(address?.split(':')[1] ?? '', 16);
}
