// Builds the frames that a server sends (SPDY Protocol, Draft 3.1, section 2.2); pure, bytes out.

import { Buffer } from 'node:buffer';
import { FLAG, FRAME_HEAD_BYTES, FRAME_TYPE, VERSION } from './constants.ts';

const CONTROL_BIT = 0x8000;

/** The head of a data frame; its payload follows as it is. */
export function dataHead(streamId: number, length: number, fin = false): Buffer {
  const head = Buffer.allocUnsafe(FRAME_HEAD_BYTES);
  head.writeUInt32BE(streamId);
  head.writeUInt32BE(length, 4);
  head[4] = fin ? FLAG.fin : 0;
  return head;
}

/** `block`: the headers, encoded for this connection and in this order. */
export function synReply(streamId: number, block: Uint8Array, fin = false): Buffer {
  return controlFrame(FRAME_TYPE.synReply, fin ? FLAG.fin : 0, [streamId], block);
}

export function rstStream(streamId: number, status: number): Buffer {
  return controlFrame(FRAME_TYPE.rstStream, 0, [streamId, status]);
}

export function ping(id: number): Buffer {
  return controlFrame(FRAME_TYPE.ping, 0, [id]);
}

/** `lastStreamId`: the last stream of the peer that was taken. */
export function goAway(lastStreamId: number, status: number): Buffer {
  return controlFrame(FRAME_TYPE.goAway, 0, [lastStreamId, status]);
}

/** A control frame of words and a rest. */
export function controlFrame(type: number, flags: number, words: readonly number[], rest?: Uint8Array): Buffer {
  const length = words.length * 4 + (rest?.length ?? 0);
  const frame = Buffer.allocUnsafe(FRAME_HEAD_BYTES + length);
  frame.writeUInt16BE(CONTROL_BIT | VERSION);
  frame.writeUInt16BE(type, 2);
  frame.writeUInt32BE(length, 4);
  frame[4] = flags;
  let at = FRAME_HEAD_BYTES;
  for (const word of words) at = frame.writeUInt32BE(word, at);
  if (rest !== undefined) frame.set(rest, at);
  return frame;
}
