// Padded base64 over bytes, without Node or DOM helpers, for the base64 subprotocols.

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const ENCODE = Uint8Array.from(ALPHABET, (character) => character.charCodeAt(0));
const PADDING = '='.charCodeAt(0);
const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;
/** What `DECODE` holds for a byte outside the alphabet. */
const INVALID = 255;
const DECODE = new Uint8Array(256).fill(INVALID);
for (const [value, code] of ENCODE.entries()) DECODE[code] = value;

const latin1 = new TextDecoder('latin1');

/** Standard base64 with padding (RFC 4648, section 4). */
export function encodeBase64(bytes: Uint8Array): string {
  const out = new Uint8Array(Math.ceil(bytes.length / 3) * 4);
  let at = 0;
  for (let i = 0; i < bytes.length; i += 3) {
    const left = bytes.length - i;
    const group = ((bytes[i] ?? 0) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    out[at++] = ENCODE[group >> 18] ?? 0;
    out[at++] = ENCODE[(group >> 12) & 63] ?? 0;
    out[at++] = left > 1 ? (ENCODE[(group >> 6) & 63] ?? 0) : PADDING;
    out[at++] = left > 2 ? (ENCODE[group & 63] ?? 0) : PADDING;
  }
  return latin1.decode(out);
}

/**
 * The bytes of padded base64, or undefined when it is not. Carriage returns and newlines are skipped, as Go's decoder does, whose
 * verdict is what clients of these protocols have been written against.
 */
export function decodeBase64(text: Uint8Array | string): Uint8Array | undefined {
  const codes = withoutLineEnds(typeof text === 'string' ? asciiBytes(text) : text);
  const length = codes.length;
  if (length === 0) return new Uint8Array(0);
  if (length % 4 !== 0) return undefined;
  const padding = codes[length - 1] !== PADDING ? 0 : codes[length - 2] !== PADDING ? 1 : 2;
  const out = new Uint8Array((length / 4) * 3 - padding);
  const digits = length - padding;
  let at = 0;
  let group = 0;
  for (let i = 0; i < digits; i += 1) {
    const value = DECODE[codes[i] ?? 0] ?? INVALID;
    if (value === INVALID) return undefined;
    group = (group << 6) | value;
    if ((i & 3) === 3) {
      out[at++] = (group >> 16) & 255;
      out[at++] = (group >> 8) & 255;
      out[at++] = group & 255;
      group = 0;
    }
  }
  if (padding === 1) {
    out[at++] = (group >> 10) & 255;
    out[at++] = (group >> 2) & 255;
  } else if (padding === 2) {
    out[at++] = (group >> 4) & 255;
  }
  return out;
}

/** One byte per character; what is not ASCII becomes a byte that no base64 holds. */
function asciiBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    bytes[i] = code < 128 ? code : INVALID;
  }
  return bytes;
}

/** One plain loop: a client decides how long the text is and how many line ends it has. */
function withoutLineEnds(bytes: Uint8Array): Uint8Array {
  if (!bytes.includes(LINE_FEED) && !bytes.includes(CARRIAGE_RETURN)) return bytes;
  const kept = new Uint8Array(bytes.length);
  let length = 0;
  for (let i = 0; i < bytes.length; i += 1) {
    const byte = bytes[i] ?? 0;
    kept[length] = byte;
    if (byte !== LINE_FEED && byte !== CARRIAGE_RETURN) length += 1;
  }
  return kept.subarray(0, length);
}
