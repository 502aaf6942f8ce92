// Headers to bytes: a zlib stream that spans the connection, made of stored blocks only, so that no compressor need be kept.

import { Buffer } from 'node:buffer';
import { DICTIONARY_ID } from './dictionary.ts';

/** Deflate with a preset dictionary, best compression: two bytes that are a multiple of 31. */
const ZLIB_HEAD = 0x78f9;
/** An empty stored block, at a byte boundary: what zlib's sync flush writes. Decompressors need it to give all that came before. */
const SYNC_FLUSH = Buffer.of(0x00, 0x00, 0x00, 0xff, 0xff);
/** Bit 0: the last block; bits 1 and 2: stored. */
const STORED = 0x00;
/** A stored block's length has 16 bits. */
const MAX_BLOCK_BYTES = 0xffff;

/** One per connection and direction: blocks must go out in the order in which they were encoded. */
export class HeaderEncoder {
  #first = true;

  /** Names must be lower case. @throws RangeError when the headers are longer than 64 KiB */
  encode(headers: readonly (readonly [name: string, value: string])[]): Buffer {
    const content = nameValueBlock(headers);
    if (content.length > MAX_BLOCK_BYTES) throw new RangeError('headers are too long');
    const block = Buffer.concat([this.#head(), storedHead(content.length), content, SYNC_FLUSH]);
    this.#first = false;
    return block;
  }

  #head(): Buffer {
    if (!this.#first) return Buffer.alloc(0);
    const head = Buffer.alloc(6);
    head.writeUInt16BE(ZLIB_HEAD);
    head.writeUInt32BE(DICTIONARY_ID, 2);
    return head;
  }
}

function storedHead(length: number): Buffer {
  const head = Buffer.alloc(5);
  head[0] = STORED;
  head.writeUInt16LE(length, 1);
  head.writeUInt16LE(~length & 0xffff, 3);
  return head;
}

/** Section 2.6.10: how many, then each name and value with its length. */
function nameValueBlock(headers: readonly (readonly [name: string, value: string])[]): Buffer {
  return Buffer.concat([
    word(headers.length),
    ...headers.flat().flatMap((text) => [word(Buffer.byteLength(text)), Buffer.from(text)]),
  ]);
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
