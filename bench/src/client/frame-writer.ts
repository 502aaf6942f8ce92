/** Client-to-server WebSocket frames with a mask key of zero: legal, and it costs the load generator nothing to apply. */

const BINARY = 0x82;
const CLOSE = 0x88;
const PONG = 0x8a;
const MASKED = 0x80;
const SHORT = 126;
const LONG = 65_536;

const frame = (first: number, payloadBytes: number): Buffer => {
  const extended = payloadBytes < SHORT ? 0 : payloadBytes < LONG ? 2 : 8;
  const header = Buffer.alloc(2 + extended + 4);
  header[0] = first;
  header[1] = MASKED | (extended === 0 ? payloadBytes : extended === 2 ? 126 : 127);
  if (extended === 2) header.writeUInt16BE(payloadBytes, 2);
  if (extended === 8) header.writeBigUInt64BE(BigInt(payloadBytes), 2);
  return header;
};

/** One message of a remotecommand channel. */
export const message = (channel: number, data: Uint8Array): Buffer =>
  Buffer.concat([frame(BINARY, data.length + 1), Buffer.of(channel), data]);

export const pong = (payload: Uint8Array): Buffer => Buffer.concat([frame(PONG, payload.length), payload]);

/** A clean end: code 1000. */
export const close = (): Buffer => Buffer.concat([frame(CLOSE, 2), Buffer.of(0x03, 0xe8)]);
