// Terminal sizes on the resize channel: a stream of JSON objects that may be cut anywhere.

/** A size with both numbers from 1 to 65535. */
export type WireSize = { readonly columns: number; readonly rows: number };

/** A size is some thirty bytes; one JSON value longer than this is no size. */
const MAX_SIZE_JSON_BYTES = 4096;
const MAX_UINT16 = 65_535;

const encoder = new TextEncoder();

/** A size as Go's client writes it: `{"Width":80,"Height":24}` and a newline. */
export function encodeSize(size: WireSize): Uint8Array {
  return encoder.encode(`{"Width":${size.columns},"Height":${size.rows}}\n`);
}

const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * Reads sizes out of concatenated JSON, wherever it is cut. As Go's server: keys in any case, numbers are uint16, a width or height of
 * zero is ignored; the first thing that does not decode ends the reading of sizes for good, and nothing else.
 *
 *   between --'{'--> value --'"'--> string --'\'--> escape
 *      ^              |  ^            |  ^             |
 *      +---last '}'---+  +----'"'-----+  +---any byte--+      anything else, from everywhere --> broken
 */
export class SizeDecoder {
  #state: 'between' | 'value' | 'string' | 'escape' | 'broken' = 'between';
  #depth = 0;
  #value: number[] = [];

  /** True once something did not decode. */
  get broken(): boolean {
    return this.#state === 'broken';
  }

  /** Takes the next bytes and gives the sizes that are complete now, in order. */
  push(bytes: Uint8Array): readonly WireSize[] {
    const sizes: WireSize[] = [];
    for (const byte of bytes) {
      if (this.#state === 'broken') break;
      if (!this.#step(byte)) continue;
      const size = parseSize(this.#value);
      this.#value = [];
      if (size === undefined) this.#break();
      else if (size.columns > 0 && size.rows > 0) sizes.push(size);
    }
    return sizes;
  }

  /** True when this byte completes a value. */
  #step(byte: number): boolean {
    if (this.#state === 'between') {
      if (byte === 0x20 || (byte >= 0x09 && byte <= 0x0d && byte !== 0x0b && byte !== 0x0c)) return false;
      if (byte !== OPEN_BRACE) return this.#break();
      this.#state = 'value';
      this.#depth = 0;
    }
    this.#value.push(byte);
    if (this.#value.length > MAX_SIZE_JSON_BYTES) return this.#break();
    if (this.#state === 'escape') this.#state = 'string';
    else if (this.#state === 'string') {
      if (byte === BACKSLASH) this.#state = 'escape';
      else if (byte === QUOTE) this.#state = 'value';
    } else if (byte === QUOTE) this.#state = 'string';
    else if (byte === OPEN_BRACE) this.#depth += 1;
    else if (byte === CLOSE_BRACE) {
      this.#depth -= 1;
      if (this.#depth === 0) {
        this.#state = 'between';
        return true;
      }
    }
    return false;
  }

  #break(): false {
    this.#state = 'broken';
    this.#value = [];
    return false;
  }
}

function parseSize(json: readonly number[]): WireSize | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder().decode(Uint8Array.from(json)));
  } catch {
    return undefined;
  }
  if (typeof parsed !== 'object' || parsed === null) return undefined;
  let columns = 0;
  let rows = 0;
  for (const [key, value] of Object.entries(parsed)) {
    const name = key.toLowerCase();
    if ((name !== 'width' && name !== 'height') || value === null) continue;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > MAX_UINT16) return undefined;
    if (name === 'width') columns = value;
    else rows = value;
  }
  return { columns, rows };
}
