/** What a shim sends, as bytes, for tests that speak as one. */
import { Buffer } from 'node:buffer';
import { Event, HEADER_BYTES } from '../stdio/shim-frames.ts';

/** Any frame, however wrong. */
export function eventFrame(type: number, flags: number, payload: Uint8Array): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(payload.length, 0);
  header[4] = type;
  header[5] = flags;
  return Buffer.concat([header, payload]);
}

export function outputFrame(stream: 1 | 2, offset: number, data: Uint8Array): Buffer {
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(offset));
  return eventFrame(Event.OUTPUT, stream, Buffer.concat([head, data]));
}
