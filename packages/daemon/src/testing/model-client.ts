/**
 * A WebSocket client of attach or exec that makes frames at random and knows what they mean, by RFC 6455 and the table of channels: made
 * without the code under test. Its frames are good up to the one that is not; what stands behind that means nothing.
 */
import { Buffer } from 'node:buffer';
import type { Subprotocol } from '@berth/attach-protocol';
import { clientFrame, type ClientFrame } from '../transport/websocket/test-frames.ts';
import { noise, pick, type Random } from './odd-frames.ts';

const CLOSE_CODES = [1000, 1001, 1011, 3000, 4999];

/** Why nothing behind a frame counts, and what the server's close frame must say: nothing where the client's said nothing. */
export type ModelEnd = { readonly reason: string; readonly code: number | undefined };

type Sent = {
  readonly bytes: Buffer;
  /** Input that it carries, from that byte of the frame on; at 0 it counts only once the frame is whole. */
  readonly input?: Buffer;
  readonly inputAt?: number;
  readonly eof?: boolean;
  readonly end?: ModelEnd;
};

/** What a session must hear of what was sent. */
export type Meaning = { readonly input: Buffer; readonly eof: boolean; readonly end: ModelEnd | undefined };

/** Fragments of a message that have not been sent yet. */
type Open = { readonly kind: 'input' | 'eof' | 'other'; readonly payload: Buffer; at: number; begun: boolean; last: boolean };

export class ModelClient {
  readonly #random: Random;
  readonly #protocol: Subprotocol;
  readonly #big: boolean;
  readonly #sent: Sent[] = [];
  /** Where each of them ends in all that is sent. */
  readonly #ends: number[] = [];
  #stdinOpen: boolean;
  #open: Open | undefined;
  #over = false;

  /** `big`: messages of up to some ten thousand bytes instead of some hundred. */
  constructor(random: Random, protocol: Subprotocol, { stdin, big }: { readonly stdin: boolean; readonly big: boolean }) {
    this.#random = random;
    this.#protocol = protocol;
    this.#stdinOpen = stdin;
    this.#big = big;
  }

  /** Nothing counts any more. */
  get isOver(): boolean {
    return this.#over;
  }

  /** The next frame. */
  frame(): Buffer {
    const sent = this.#over ? this.#meaningless() : this.#next();
    this.#over ||= sent.end !== undefined;
    this.#sent.push(sent);
    this.#ends.push((this.#ends.at(-1) ?? 0) + sent.bytes.length);
    return sent.bytes;
  }

  /** How much input there is in the first `length` bytes of all frames. */
  inputBytes(length: number): number {
    return this.#inputs(length).reduce((sum, input) => sum + input.length, 0);
  }

  /** What the first `length` bytes of all frames mean. */
  meaning(length: number): Meaning {
    const whole = this.#sent.filter((_, i) => (this.#ends[i] as number) <= length);
    return {
      input: Buffer.concat(this.#inputs(length)),
      eof: whole.some(({ eof }) => eof === true),
      end: whole.find(({ end }) => end !== undefined)?.end,
    };
  }

  #inputs(length: number): Buffer[] {
    return this.#sent.flatMap(({ bytes, input, inputAt = 0 }, i) => {
      const sent = bytes.length + Math.min(0, length - (this.#ends[i] as number));
      if (input === undefined) return [];
      if (sent === bytes.length) return [input];
      return inputAt === 0 || sent <= inputAt ? [] : [input.subarray(0, sent - inputAt)];
    });
  }

  #next(): Sent {
    const random = this.#random;
    if (random(80) === 0) return this.#broken();
    if (random(100) === 0) return this.#close();
    if (random(5) === 0) return { bytes: this.#make({ opcode: 9 + random(2), payload: noise(random, random(126)) }) };
    this.#open ??= this.#begin();
    return this.#fragment(this.#open);
  }

  #begin(): Open {
    const random = this.#random;
    const isBase64 = this.#protocol.encoding === 'base64';
    const rest = { at: 0, begun: false, last: false };
    const onChannel = (channel: number, body: Buffer): Buffer =>
      isBase64
        ? Buffer.from(`${String.fromCharCode(48 + channel)}${body.toString('base64')}`)
        : Buffer.concat([Buffer.of(channel), body]);
    const what = random(20);
    if (what === 0 && this.#protocol.hasClose) {
      const channel = pick(random, [0, 1, 3]);
      return { ...rest, kind: channel === 0 ? 'eof' : 'other', payload: Buffer.of(255, channel) };
    }
    if (what < 3) return { ...rest, kind: 'other', payload: onChannel(4, Buffer.from('{"Width":80,"Height":24}')) };
    if (what < 5) return { ...rest, kind: 'other', payload: onChannel(pick(random, [1, 2, 3, 5, 9]), noise(random, random(50))) };
    if (what === 5) return { ...rest, kind: 'other', payload: Buffer.alloc(0) };
    const length = this.#big && random(2) === 0 ? 20_000 + random(40_000) : random(300);
    const body =
      length < 1_000 ? noise(random, length) : Buffer.concat([noise(random, 200), Buffer.alloc(length - 200, random(256))]);
    return { ...rest, kind: 'input', payload: onChannel(0, body) };
  }

  #fragment(message: Open): Sent {
    const random = this.#random;
    const { payload, at, begun, kind } = message;
    const isLast = random(3) > 0;
    const to = isLast ? payload.length : at + random(payload.length - at + 1);
    const part = payload.subarray(at, to);
    message.at = to;
    message.begun = true;
    if (isLast) this.#open = undefined;
    const head = { opcode: begun ? 0 : 1 + random(2), final: isLast, payload: part };
    const bytes = this.#make(head);
    if (kind === 'other' || !this.#stdinOpen) return { bytes };
    if (kind === 'eof') {
      if (isLast) this.#stdinOpen = false;
      return { bytes, eof: isLast };
    }
    // The channel is a message's first byte, whichever fragment that stands in.
    const channelBytes = at === 0 && part.length > 0 ? 1 : 0;
    if (this.#protocol.encoding === 'base64') {
      return isLast ? { bytes, input: Buffer.from(payload.subarray(1).toString('latin1'), 'base64') } : { bytes };
    }
    return { bytes, input: part.subarray(channelBytes), inputAt: bytes.length - part.length + channelBytes };
  }

  #close(): Sent {
    const code = pick(this.#random, [...CLOSE_CODES, undefined]);
    const payload = code === undefined ? Buffer.alloc(0) : Buffer.from([code >> 8, code & 255, ...Buffer.from('bye ü')]);
    return { bytes: this.#make({ opcode: 8, payload }), end: { reason: `client closed with ${code ?? 'no code'}`, code } };
  }

  #broken(): Sent {
    const random = this.#random;
    const inMessage = this.#open?.begun === true;
    const next = inMessage ? 0 : 2;
    const frames: (readonly [ClientFrame, number, string])[] = [
      [{ opcode: next, reserved: 1 + random(7) }, 1002, 'reserved bits are set'],
      [{ opcode: 9, masked: false }, 1002, 'the frame is not masked'],
      [{ opcode: pick(random, [3, 7, 11, 15]) }, 1002, 'unknown opcode'],
      [{ opcode: 9, final: false }, 1002, 'a control frame is fragmented'],
      [{ opcode: 10, payload: noise(random, 126) }, 1002, 'a control frame is too long'],
      [{ opcode: 2 - next }, 1002, inMessage ? 'a message inside a message' : 'a continuation of nothing'],
      [{ opcode: next, claimedLength: 2 ** 40 }, 1009, 'the message is too big'],
      [{ opcode: 8, payload: Buffer.of(3, 0xed) }, 1002, 'the close frame has no valid code'],
      [{ opcode: 8, payload: Buffer.of(3, 0xe8, 0xff) }, 1007, 'the close reason is not UTF-8'],
    ];
    if (this.#protocol.hasClose && !inMessage) {
      frames.push([
        { opcode: 2, payload: pick(random, [Buffer.of(255), Buffer.of(255, 9), Buffer.of(255, 0, 0)]) },
        1002,
        'malformed CLOSE',
      ]);
    }
    const [frame, code, reason] = pick(random, frames);
    return { bytes: this.#make(frame), end: { code, reason: `client broke the protocol: ${reason}` } };
  }

  #meaningless(): Sent {
    const random = this.#random;
    if (random(2) === 0) return { bytes: noise(random, 1 + random(200)) };
    return { bytes: this.#make({ opcode: 2, payload: Buffer.concat([Buffer.of(0), noise(random, random(100))]) }) };
  }

  #make(frame: ClientFrame): Buffer {
    const random = this.#random;
    const length = frame.payload?.length ?? 0;
    // The length may stand in a longer field than it needs.
    const lengthBytes = frame.claimedLength === undefined && length < 126 && random(20) === 0 && frame.opcode < 8 ? 8 : undefined;
    return clientFrame({ ...frame, key: noise(random, 4), ...(lengthBytes === undefined ? {} : { lengthBytes }) });
  }
}
