// Makes the frames that a client sends, and takes those apart that it gets; for tests only.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';

export type ClientFrame = {
  readonly opcode: number;
  readonly payload?: Uint8Array;
  readonly final?: boolean;
  readonly reserved?: number;
  readonly masked?: boolean;
  readonly key?: Uint8Array;
  /** Use a longer length field than needed, or claim another length than there is. */
  readonly lengthBytes?: 0 | 2 | 8;
  readonly claimedLength?: number;
};

const KEY = Uint8Array.of(0x37, 0xfa, 0x21, 0x3d);

/** One frame, byte by byte, independent of the code under test. */
export function clientFrame(frame: ClientFrame): Buffer {
  const { opcode, payload = new Uint8Array(0), final = true, reserved = 0, masked = true, key = KEY } = frame;
  const length = frame.claimedLength ?? payload.length;
  const lengthBytes = frame.lengthBytes ?? (length < 126 ? 0 : length < 65_536 ? 2 : 8);
  const head: number[] = [(final ? 0x80 : 0) | (reserved << 4) | opcode];
  const bit = masked ? 0x80 : 0;
  if (lengthBytes === 0) head.push(bit | length);
  else {
    head.push(bit | (lengthBytes === 2 ? 126 : 127));
    for (let i = lengthBytes - 1; i >= 0; i -= 1) head.push(Math.floor(length / 256 ** i) % 256);
  }
  if (!masked) return Buffer.concat([Buffer.from(head), payload]);
  const body = payload.map((byte, i) => byte ^ (key[i % 4] ?? 0));
  return Buffer.concat([Buffer.from(head), key, body]);
}

/** The first frame of a server's bytes, once it is whole. */
export function serverFrame(bytes: Buffer): { opcode: number; payload: Buffer; end: number } | undefined {
  if (bytes.length < 2) return undefined;
  const short = bytes[1] as number;
  const headBytes = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (bytes.length < headBytes) return undefined;
  const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : bytes.readUInt32BE(6);
  const end = headBytes + length;
  if (bytes.length < end) return undefined;
  return { opcode: (bytes[0] as number) & 0x0f, payload: bytes.subarray(headBytes, end), end };
}

/** The frames that a server has sent, as far as they are whole; fails on a mask, a fragment and reserved bits, which no server of ours sends. */
export function* serverFrames(
  bytes: Buffer,
): Generator<{ readonly opcode: number; readonly payload: Buffer; readonly end: number }> {
  let at = 0;
  for (let frame = serverFrame(bytes); frame !== undefined; frame = serverFrame(bytes.subarray(at))) {
    assert.equal((bytes[at] as number) & 0xf0, 0x80, 'whole messages, no reserved bits');
    assert.ok((bytes[at + 1] as number) < 0x80, 'no mask');
    at += frame.end;
    yield { ...frame, end: at };
  }
}

/** A small generator with a seed, so that a failing run can be repeated. */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 0x1_0000_0000) * below);
  };
}
