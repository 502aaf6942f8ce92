/** Plain TCP clients of forwarded ports. */
import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { feed, type Sum, sumOf } from './hashing.ts';
import { randomBlocks } from './random.ts';

/** This side of an open connection, as the daemon writes addresses: `127.0.0.1:4711`. */
export function addressOf({ localAddress, localPort }: Socket): string {
  if (localAddress === undefined || localPort === undefined) throw new Error('the connection is not open');
  return `${localAddress}:${localPort}`;
}

/** A connection that stays open for reading when its own half is ended. */
export async function dial(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  await once(socket, 'connect');
  return socket;
}

/** Sends random bytes, ends that half, and sums up what comes until the other half ends. */
export async function exchange(port: number, bytes: number, seed: number): Promise<Sum> {
  const socket = await dial(port);
  const [sum] = await Promise.all([sumOf(socket), feed(socket, randomBlocks(bytes, seed))]);
  return sum;
}

/** Everything that comes for one request. */
export async function ask(port: number, request: string): Promise<Buffer> {
  const socket = await dial(port);
  socket.write(request);
  const pieces: Buffer[] = [];
  for await (const piece of socket) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}

/** Resolves when the peer ends or resets without a byte. @throws Error when a byte comes */
export async function comesToNothing(port: number): Promise<void> {
  const socket = await dial(port);
  socket.on('error', () => {});
  socket.write('anybody there?');
  socket.on('data', (chunk) => socket.destroy(new Error(`a byte came from a closed port: ${String(chunk)}`)));
  socket.on('end', () => socket.end());
  await new Promise((resolve) => socket.once('close', resolve));
}
