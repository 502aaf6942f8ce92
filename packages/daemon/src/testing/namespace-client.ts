/**
 * Clients in a process of their own, to be stopped or cut off: `namespace-client.ts CA NAME=URL...`. The second word of a name is what
 * its client speaks: `websocket` or `spdy` for attach, `forward` or `tunnel` for port-forward. Each sends one byte when all of its session
 * is there, and one a second once `SIGUSR2` has come.
 */
import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import { WebSocket } from 'ws';
import { SpdyClient } from './spdy-client.ts';

const [caFile = '', ...sessions] = process.argv.slice(2);
const ca = readFileSync(caFile);

/** What sends a byte of input. */
type Send = () => void;

async function webSocket(url: string): Promise<Send> {
  const socket = new WebSocket(url.replace('https:', 'wss:'), 'v5.channel.k8s.io', { ca });
  socket.on('error', () => undefined);
  await once(socket, 'open');
  return () => socket.readyState === WebSocket.OPEN && socket.send(Buffer.from('\0x'));
}

async function spdy(url: string): Promise<Send> {
  const client = await SpdyClient.connect(url, { ca });
  const { stdin } = await client.openSession('error', 'stdin', 'stdout', 'stderr');
  return () => stdin.write('x');
}

async function forward(url: string, tunnel: boolean): Promise<Send> {
  const protocols = [tunnel ? 'SPDY/3.1+portforward.k8s.io' : 'portforward.k8s.io'];
  const client = await SpdyClient.connect(url, { ca, tunnel, protocols });
  const { data } = await client.forward(80);
  return () => data.write('x');
}

function open(name: string, url: string): Promise<Send> {
  const [, wire] = name.split('-');
  if (wire === 'websocket') return webSocket(url);
  return wire === 'spdy' ? spdy(url) : forward(url, wire === 'tunnel');
}

const sends = await Promise.all(
  sessions.map(async (session) => {
    const [name = '', url = ''] = session.split('=');
    const send = await open(name, url);
    send();
    return send;
  }),
);
process.on('SIGUSR2', () => {
  setInterval(() => {
    for (const send of sends) send();
  }, 1_000);
});
