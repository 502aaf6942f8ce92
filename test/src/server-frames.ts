/** The frames of a WebSocket server, for tests that write a client's bytes themselves. */
import assert from 'node:assert/strict';

const FIN = 0x80;

/** An unfragmented WebSocket frame, as a server sends them. */
export type Frame = { readonly opcode: number; readonly payload: Buffer };

/** Takes what came behind the answer to an upgrade apart, as far as frames are whole; throws on a mask, which a server never sends. */
export function serverFrames(received: Buffer): Frame[] {
  let data = received.subarray(received.indexOf('\r\n\r\n') + 4);
  const found: Frame[] = [];
  while (data.length >= 2) {
    const short = data[1] ?? 0;
    assert.ok(short < 0x80, 'no mask');
    const [header, length] =
      short < 126 ? [2, short] : short === 126 ? [4, data.readUInt16BE(2)] : [10, Number(data.readBigUInt64BE(2))];
    if (data.length < header + length) break;
    assert.equal((data[0] ?? 0) & FIN, FIN);
    found.push({ opcode: (data[0] ?? 0) & 0x0f, payload: data.subarray(header, header + length) });
    data = data.subarray(header + length);
  }
  return found;
}
