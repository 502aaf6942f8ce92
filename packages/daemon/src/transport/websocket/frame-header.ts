// Builds the frames that a server sends (RFC 6455, section 5.2): unmasked, unfragmented; pure, bytes in and out.

import { Buffer } from 'node:buffer';
import { MAX_CONTROL_PAYLOAD_BYTES, OPCODE } from './constants.ts';

const FIN = 0x80;
const LENGTH_16 = 126;
const LENGTH_64 = 127;
const MAX_LENGTH_7 = 125;
const MAX_LENGTH_16 = 0xffff;

/** The header of a whole message, followed by the first bytes of its payload, which keeps a channel byte out of the shared chunk. */
export function frameHead(opcode: number, payloadLength: number, first: Uint8Array | undefined): Buffer {
  const lengthBytes = payloadLength <= MAX_LENGTH_7 ? 0 : payloadLength <= MAX_LENGTH_16 ? 2 : 8;
  const head = Buffer.allocUnsafe(2 + lengthBytes + (first?.length ?? 0));
  head[0] = FIN | opcode;
  if (lengthBytes === 0) head[1] = payloadLength;
  else if (lengthBytes === 2) {
    head[1] = LENGTH_16;
    head.writeUInt16BE(payloadLength, 2);
  } else {
    head[1] = LENGTH_64;
    head.writeUInt32BE(0, 2);
    head.writeUInt32BE(payloadLength, 6);
  }
  if (first !== undefined) head.set(first, 2 + lengthBytes);
  return head;
}

/** A whole frame with its payload in one buffer; for what is small. */
export function wholeFrame(opcode: number, payload: Uint8Array): Buffer {
  return frameHead(opcode, payload.length, payload);
}

/** A close frame with its code and, cut to what fits, a reason in ASCII. */
export function closeFrame(code: number, reason = ''): Buffer {
  const payload = Buffer.alloc(2 + Math.min(reason.length, MAX_CONTROL_PAYLOAD_BYTES - 2));
  payload.writeUInt16BE(code, 0);
  payload.write(reason, 2, 'latin1');
  return wholeFrame(OPCODE.close, payload);
}
