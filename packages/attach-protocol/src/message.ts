// Whole channel messages to and from bytes, for clients and for tests; the daemon streams them instead of holding them whole.

import { decodeBase64, encodeBase64 } from './base64.ts';
import { CHANNEL } from './channels.ts';
import type { Subprotocol } from './subprotocols.ts';

/** One message: which channel, and what was said on it. */
export type ChannelMessage = { readonly channel: number; readonly payload: Uint8Array };

const DIGIT_ZERO = 48;
const encoder = new TextEncoder();

/**
 * The message as it goes onto the wire: a string is to be sent as a text message, bytes as a binary one. An empty payload gives a
 * message of the channel alone (never an empty message, which Go clients take for the end of the session).
 */
export function encodeMessage(protocol: Subprotocol, channel: number, payload: Uint8Array): Uint8Array | string {
  if (protocol.encoding === 'base64') return String(channel) + encodeBase64(payload);
  const message = new Uint8Array(payload.length + 1);
  message[0] = channel;
  message.set(payload, 1);
  return message;
}

/** The v5 message that says that nothing more comes on a channel. Clients send it; a server never does. */
export function encodeClose(channel: number): Uint8Array {
  return Uint8Array.of(CHANNEL.close, channel);
}

/**
 * Takes a message apart; undefined when it is empty, or base64 that is none. The payload of a binary message shares its memory. Text
 * messages are accepted on binary protocols: whether a message came as text says nothing.
 */
export function decodeMessage(protocol: Subprotocol, message: Uint8Array | string): ChannelMessage | undefined {
  const bytes = typeof message === 'string' ? encoder.encode(message) : message;
  const first = bytes[0];
  if (first === undefined) return undefined;
  if (protocol.encoding === 'binary') return { channel: first, payload: bytes.subarray(1) };
  const payload = decodeBase64(bytes.subarray(1));
  const channel = first - DIGIT_ZERO;
  return payload === undefined || channel < 0 || channel > 9 ? undefined : { channel, payload };
}
