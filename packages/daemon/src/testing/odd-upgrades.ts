/** Upgrade requests as clients, proxies and attackers get them wrong: good ones of all three wires, with up to two things changed. */
import { Buffer } from 'node:buffer';
import type { SessionKind } from '../streaming/handler.ts';
import { noise, pick, type Random } from './odd-frames.ts';

export type Wire = 'websocket' | 'spdy' | 'tunnel';

export type OddUpgrade = {
  /** What the frames behind it should be of. */
  readonly wire: Wire;
  readonly bytes: Buffer;
  /** Requests that stand in front of it; their answers may come at any time. */
  readonly inFront: number;
};

/** The router's answer to the first ends the connection; Node's own to the others does not. */
const FRONTS = ['', 'Expect: x\r\n', 'Expect: 100-continue\r\n'].map((more) => `GET / HTTP/1.1\r\nHost: x\r\n${more}\r\n`);
const HUGE = 'x'.repeat(20_000);
const METHODS = ['GET', 'POST', 'PUT', 'HEAD', 'OPTIONS', 'DELETE', 'CONNECT', 'PRI', 'get', 'GE T', ''];
const VERSIONS = ['HTTP/1.0', 'HTTP/2.0', 'HTTP/0.9', 'HTTP/1.1 ', 'HTTP/1.', 'http/1.1', 'HTTP/11', 'ICE/1.0', ''];
const QUERIES = [
  '?from=start',
  '?from=now',
  '?from=never',
  '?from=now&from=now',
  '?',
  '?%00',
  '?x=%zz',
  `?x=${HUGE}`,
  '/',
  '/..',
  '#x',
];
const VALUES = [
  '',
  ' ',
  ',',
  'Upgrade',
  'upgrade, close',
  'websocket',
  'SPDY/3.1',
  'spdy/3.1, websocket',
  'h2c',
  'constructor',
  '__proto__',
  '13',
  '8',
  '\0',
  HUGE,
];
const PROTOCOLS = [
  'v5.channel.k8s.io',
  'v4.base64.channel.k8s.io',
  'base64.channel.k8s.io',
  'channel.k8s.io',
  ', ,',
  '__proto__',
  '',
];
const MORE = [
  'Content-Length: 5',
  'Content-Length: 5\r\nContent-Length: 6',
  'Content-Length: -1',
  'Content-Length: 99999999999999999999',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: chunked\r\nContent-Length: 3',
  'Transfer-Encoding: x',
  'Expect: 100-continue',
  'Trailer: x',
  'HTTP2-Settings: AAMAAABkAAQAAP__',
  'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits',
  'Sec-WebSocket-Protocol: v4.channel.k8s.io',
  'X-Stream-Protocol-Version: v4.channel.k8s.io',
  'X-Stream-Protocol-Version: v1.channel.k8s.io',
  'Origin: https://evil.example',
  '__proto__: x',
  `X: ${HUGE}`,
  'X: y\r\n'.repeat(2_500).trimEnd(),
  'X: \x80\xff',
  'X\0: y',
  'no colon',
  ': no name',
  ' folded',
];

function goodLines(wire: Wire, kind: SessionKind, random: Random, { pathname, host }: URL): string[] {
  if (wire === 'spdy') {
    const names = kind === 'portforward' ? ['portforward.k8s.io'] : ['v4.channel.k8s.io', 'v1.channel.k8s.io'];
    return [
      `${pick(random, ['POST', 'GET'])} ${pathname} HTTP/1.1`,
      `Host: ${host}`,
      'Connection: Upgrade',
      'Upgrade: SPDY/3.1',
      'Content-Length: 0',
      ...names.map((name) => `X-Stream-Protocol-Version: ${name}`),
    ];
  }
  const protocols =
    kind === 'portforward' ? ['v4.channel.k8s.io', 'v4.base64.channel.k8s.io'] : ['v5.channel.k8s.io', 'v4.channel.k8s.io'];
  return [
    `GET ${pathname} HTTP/1.1`,
    `Host: ${host}`,
    'Connection: keep-alive, Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    `Sec-WebSocket-Protocol: ${wire === 'tunnel' ? 'SPDY/3.1+portforward.k8s.io' : pick(random, protocols)}`,
  ];
}

function changeRequestLine(random: Random, line: string): string {
  const [method = '', path = '', version = ''] = line.split(' ');
  switch (random(5)) {
    case 0:
      return `${pick(random, METHODS)} ${path} ${version}`;
    case 1:
      return `${method} ${path} ${pick(random, VERSIONS)}`;
    case 2:
      return `${method} ${path}${pick(random, QUERIES)} ${version}`;
    case 3:
      return `${method} ${path.replace(/attach|exec|portforward/, pick(random, ['attach', 'exec', 'portforward', 'Attach', '%61ttach', '']))} ${version}`;
    default:
      return `${method} ${pick(random, ['*', '/', `http://x${path}`, `/${path}`, path.slice(0, -1), `${path}\0`, ''])} ${version}`;
  }
}

function changeHeader(random: Random, line: string): string {
  const [name = '', value = ''] = line.split(': ');
  switch (random(7)) {
    case 0:
      return `${name}: ${pick(random, VALUES)}`;
    case 1:
      return `${name}: ${pick(random, PROTOCOLS)}`;
    case 2:
      return `${name.toUpperCase()}:${value.toLowerCase()}`;
    case 3:
      return `${name} : ${value}`;
    case 4:
      return `${name}: ${value.slice(0, 3)}\r\n ${value.slice(3)}`;
    case 5:
      return `${name}: ${value}\0`;
    default:
      return `${name}:\t${value}  `;
  }
}

function changeLines(random: Random, lines: string[]): void {
  const at = 1 + random(lines.length - 1);
  switch (random(6)) {
    case 0:
      lines[0] = changeRequestLine(random, lines[0] ?? '');
      return;
    case 1:
      lines.splice(at, 1);
      return;
    case 2:
      lines.splice(at, 0, lines[at] ?? '');
      return;
    case 3:
      lines.push(lines.splice(at, 1)[0] ?? '');
      return;
    case 4:
      lines.splice(at, 0, pick(random, MORE));
      return;
    default:
      lines[at] = changeHeader(random, lines[at] ?? '');
  }
}

function changeBytes(random: Random, bytes: Buffer): Buffer {
  const at = random(bytes.length);
  const to = Math.min(bytes.length, at + 1 + random(4));
  switch (random(8)) {
    case 0:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(to)]);
    case 1:
      return Buffer.concat([bytes.subarray(0, at), noise(random, 1 + random(4)), bytes.subarray(at)]);
    case 2:
      return bytes.subarray(0, at);
    case 3:
      return Buffer.from(bytes.toString('latin1').replaceAll('\r\n', '\n'), 'latin1');
    default:
      return Buffer.concat([bytes.subarray(0, at), noise(random, to - at), bytes.subarray(to)]);
  }
}

/** A request for the URL, with none, one or two changes. */
export function oddUpgrade(random: Random, kind: SessionKind, url: string): OddUpgrade {
  const wire = pick<Wire>(random, kind === 'portforward' ? ['websocket', 'spdy', 'tunnel'] : ['websocket', 'spdy']);
  const lines = goodLines(wire, kind, random, new URL(url));
  const changes = Array.from({ length: random(3) }, () => random(4));
  for (const change of changes) if (change > 0) changeLines(random, lines);
  let bytes: Buffer = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
  for (const change of changes) if (change === 0) bytes = changeBytes(random, bytes);
  const inFront = random(12) === 0 ? 1 + random(3) : 0;
  const front = pick(random, FRONTS).repeat(inFront);
  const behind = random(20) === 0 ? bytes : Buffer.alloc(0);
  const empty = random(30) === 0 ? '\r\n\r\n' : '';
  return { wire, inFront, bytes: Buffer.concat([Buffer.from(empty + front), bytes, behind]) };
}
