// Tells of every piece of data that goes through a forwarded connection, for the meter and the idle clock.

import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';

/**
 * Calls `came` with the bytes of every piece that comes in (`push`), `went` with those that go out (`write`, `end`); 0 for what is no data.
 * The stream stays what it is, with its back-pressure, halves and errors: a stream around it would have to imitate all of that, and cost a
 * copy of every piece's way.
 */
export function watchData(data: Duplex, came: (bytes: number) => void, went: (bytes: number) => void): void {
  const push = data.push.bind(data);
  data.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
    came(bytesOf(chunk, encoding));
    return push(chunk, encoding);
  };
  const write = data.write.bind(data) as (...args: unknown[]) => boolean;
  data.write = (chunk: unknown, ...rest: unknown[]): boolean => {
    went(bytesOf(chunk, rest[0]));
    return write(chunk, ...rest);
  };
  const end = data.end.bind(data) as (...args: unknown[]) => typeof data;
  data.end = (...args: unknown[]): typeof data => {
    went(bytesOf(args[0], args[1]));
    return end(...args);
  };
}

/** 0 of what is no data: the end of input, a callback. */
function bytesOf(chunk: unknown, encoding: unknown): number {
  if (chunk instanceof Uint8Array) return chunk.length;
  return typeof chunk === 'string' ? Buffer.byteLength(chunk, encoding as BufferEncoding | undefined) : 0;
}
