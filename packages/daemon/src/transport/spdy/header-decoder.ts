// Header blocks to headers: a zlib stream that spans the connection, decompressed block by block, at once and within bounds.

import { Buffer } from 'node:buffer';
import { constants, inflateRawSync } from 'node:zlib';
import { MAX_HEADER_BLOCK_BYTES, MAX_HEADERS } from './constants.ts';
import { DICTIONARY, DICTIONARY_ID } from './dictionary.ts';

/** Headers by name, lower case. */
export type Headers = ReadonlyMap<string, string>;

/** Limits; others by tests only. */
export type HeaderLimits = { readonly maxBytes: number; readonly maxHeaders: number };

const LIMITS: HeaderLimits = { maxBytes: MAX_HEADER_BLOCK_BYTES, maxHeaders: MAX_HEADERS };

/** RFC 1950: method and window, flags; and the dictionary's name where bit 5 of the flags is set. */
const ZLIB_HEAD_BYTES = 2;
const DICTIONARY_ID_BYTES = 4;
const DICTIONARY_BIT = 0x20;
const DEFLATE_METHOD = 8;
/** RFC 1951: what later bytes may refer back to. */
const WINDOW_BYTES = 32 * 1024;
/** The end of a sync flush: a stored block of length 0. Behind it the next block begins at a whole byte. */
const SYNC_FLUSH_END = Buffer.of(0x00, 0x00, 0xff, 0xff);

/** Headers that cannot be read. The connection cannot go on after it: the compression is one stream. */
export class HeaderError extends Error {
  override readonly name = 'HeaderError';
}

/**
 * One per connection. zlib's stream objects work asynchronously; frames must be taken in order and at once. But every block ends with a
 * sync flush, and all that the next one needs of what came before is the last 32 KiB of text: as a dictionary, that makes every block
 * a stream of its own.
 */
export class HeaderDecoder {
  readonly #limits: HeaderLimits;
  #window: Buffer | undefined;

  constructor(limits: HeaderLimits = LIMITS) {
    this.#limits = limits;
  }

  /** @throws HeaderError */
  decode(block: Buffer): Headers {
    const text = this.#inflate(this.#window === undefined ? this.#begin(block) : block);
    this.#window = Buffer.concat([this.#window ?? Buffer.alloc(0), text]).subarray(-WINDOW_BYTES);
    return parseHeaders(text, this.#limits.maxHeaders);
  }

  /** Takes zlib's head off the first block. A stream without the dictionary is one with an empty window. */
  #begin(block: Buffer): Buffer {
    if (block.length < ZLIB_HEAD_BYTES + DICTIONARY_ID_BYTES) throw new HeaderError('the compressed headers are cut off');
    const head = block.readUInt16BE();
    if (head % 31 !== 0 || ((head >> 8) & 0x0f) !== DEFLATE_METHOD)
      throw new HeaderError('the headers are not compressed with zlib');
    if ((head & DICTIONARY_BIT) === 0) {
      this.#window = Buffer.alloc(0);
      return block.subarray(ZLIB_HEAD_BYTES);
    }
    if (block.readUInt32BE(ZLIB_HEAD_BYTES) !== DICTIONARY_ID)
      throw new HeaderError('the headers are compressed with an unknown dictionary');
    this.#window = DICTIONARY;
    return block.subarray(ZLIB_HEAD_BYTES + DICTIONARY_ID_BYTES);
  }

  #inflate(block: Buffer): Buffer {
    if (!block.subarray(-SYNC_FLUSH_END.length).equals(SYNC_FLUSH_END)) throw new HeaderError('the compressed headers are cut off');
    try {
      return inflateRawSync(block, {
        finishFlush: constants.Z_SYNC_FLUSH,
        maxOutputLength: this.#limits.maxBytes,
        ...(this.#window === undefined || this.#window.length === 0 ? {} : { dictionary: this.#window }),
      });
    } catch (error) {
      const tooLong = error instanceof RangeError;
      throw new HeaderError(tooLong ? 'the headers are too long' : 'the compressed headers are damaged', { cause: error });
    }
  }
}

/** Section 2.6.10: how many, then each name and value with its length. */
function parseHeaders(text: Buffer, most: number): Headers {
  let at = 0;
  const word = (): number => {
    if (at + 4 > text.length) throw new HeaderError('the headers are cut off');
    at += 4;
    return text.readUInt32BE(at - 4);
  };
  const string = (): string => {
    const length = word();
    if (length > text.length - at) throw new HeaderError('the headers are cut off');
    at += length;
    return text.toString('latin1', at - length, at);
  };
  const count = word();
  if (count > most) throw new HeaderError('there are too many headers');
  const headers = new Map<string, string>();
  for (let i = 0; i < count; i += 1) {
    const name = string().toLowerCase();
    if (name === '' || headers.has(name)) throw new HeaderError('a header has no name, or comes twice');
    headers.set(name, string());
  }
  if (at !== text.length) throw new HeaderError('something follows the headers');
  return headers;
}
