// Where what a client sends is read to: memory of Node's making for each read, or memory that is used again and again.

import { Buffer } from 'node:buffer';
import { Socket, type SocketConstructorOpts } from 'node:net';
import { TLSSocket } from 'node:tls';
import { readIntoFreshMemory } from './read-memory.ts';

/** A connection and how it is read. */
export type ClientReads = {
  readonly socket: Socket;
  /** Begins to read; called once. Pausing and resuming are the socket's. */
  start(data: (chunk: Buffer) => void): void;
};

/** What Node itself takes for one read. */
const READ_BYTES = 64 * 1024;
/** One for the whole daemon: a read is handed on before the next one begins, whichever connection that comes from. */
const shared = Buffer.allocUnsafeSlow(READ_BYTES);

/** Each read comes in memory of its own; `head` is what came behind the request in the same packet. */
export function freshReads(socket: Socket, head: Buffer): ClientReads {
  if (head.length > 0) socket.unshift(head);
  return {
    socket,
    start: (data) => {
      socket.on('data', (chunk: Buffer) => {
        data(chunk);
        readIntoFreshMemory(chunk.length);
      });
    },
  };
}

/**
 * Takes a connection over from Node's HTTP server, so that its reads need no memory of their own: fresh memory costs a third of the
 * daemon's processor time for input, and the C library keeps what it was. A chunk is the reader's until the event loop goes on (microtasks and
 * `process.nextTick` come before that, as Node documents it); then the next read is written over it. Under TLS reads stay as they were.
 */
export function sharedReads(first: Socket, head: Buffer): ClientReads {
  let reader: ((chunk: Buffer) => void) | undefined;
  const socket = first instanceof TLSSocket ? undefined : taken(first, (chunk) => reader?.(chunk));
  if (socket === undefined) return freshReads(first, head);
  return {
    socket,
    start: (data) => {
      reader = data;
      // Before anything is read: reading begins when the event loop goes on.
      if (head.length > 0) process.nextTick(() => socket.destroyed || data(head));
      socket.resume();
    },
  };
}

/** What this version of Node has on a socket: what the kernel knows it by, and the answer that its HTTP server has not given yet. */
type ServerSocket = Socket & { _handle?: SocketConstructorOpts['handle'] | null; readonly _httpMessage?: object | null };

/**
 * The same connection as another socket, paused: Node takes memory for reads only where a socket is made. Undefined for a socket that has none of
 * the kernel's, and for one that Node still writes to: a client may have sent requests in front of this one, whose answers are not all out.
 */
function taken(first: ServerSocket, read: (chunk: Buffer) => void): Socket | undefined {
  const { _handle: handle } = first;
  const isFree = !first.writableEnded && !first.destroyed && first.writableLength === 0 && (first._httpMessage ?? null) === null;
  if (handle === undefined || handle === null || !isFree) return undefined;
  first._handle = null;
  const callback = (bytes: number): true => {
    read(shared.subarray(0, bytes));
    return true;
  };
  const socket = new Socket({ handle, allowHalfOpen: true, onread: { buffer: shared, callback } });
  socket.pause();
  // The server counts its connections by the sockets that it has made.
  socket.once('close', () => first.destroy());
  first.once('close', () => socket.destroy());
  // Nobody else listens there any more.
  first.on('error', () => first.destroy());
  return socket;
}
