/** Walks through an archive, from a stream or from a file, and gives its members one after the other with all headers applied. */
import type { FileHandle } from 'node:fs/promises';
import { BerthError } from '../util/errors.ts';
import { MAX_EXTENDED_HEADER_BYTES } from './limits.ts';
import {
  BLOCK,
  damaged,
  padding,
  parseHeader,
  parsePax,
  typeOf,
  type PaxRecords,
  type RawHeader,
  type TarEntry,
} from './tar-header.ts';

/** Where a walk gets its bytes from. */
export interface TarSource {
  /** Up to `max` bytes, at least one; undefined at the end. */
  some(max: number): Promise<Buffer | undefined>;
  /** Goes over `count` bytes; the end of the bytes within them is an error. */
  skip(count: number): Promise<void>;
}

const cutShort = (): BerthError => damaged('it ends in the middle');

/** A source over a stream: what is skipped is read and dropped. */
export function streamSource(stream: AsyncIterable<Buffer>): TarSource {
  const iterator = stream[Symbol.asyncIterator]();
  let rest: Buffer = Buffer.alloc(0);
  const some = async (max: number): Promise<Buffer | undefined> => {
    while (rest.length === 0) {
      const next = await iterator.next();
      if (next.done) return undefined;
      rest = next.value;
    }
    const piece = rest.subarray(0, max);
    rest = rest.subarray(piece.length);
    return piece;
  };
  const skip = async (count: number): Promise<void> => {
    for (let left = count; left > 0; ) {
      const piece = await some(left);
      if (piece === undefined) throw cutShort();
      left -= piece.length;
    }
  };
  return { some, skip };
}

/** What a walk over a file reads at a time: a run of small members' headers, and not too much where the next one is far away. */
const WINDOW_BYTES = 32 * 1024;

/** A source over a part of a file: what is skipped is not read. `at` says where the walk is. */
export function fileSource(file: FileHandle, start: number, end: number): TarSource & { readonly at: number } {
  let position = start;
  let window = Buffer.alloc(0);
  let windowStart = start;
  return {
    get at() {
      return position;
    },
    async some(max) {
      if (position >= end) return undefined;
      let offset = position - windowStart;
      if (offset < 0 || offset >= window.length) {
        const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(Math.min(WINDOW_BYTES, end - position)), { position });
        if (bytesRead === 0) return undefined;
        window = buffer.subarray(0, bytesRead);
        windowStart = position;
        offset = 0;
      }
      const piece = window.subarray(offset, offset + max);
      position += piece.length;
      return piece;
    },
    async skip(count) {
      if (position + count > end) throw cutShort();
      position += count;
    },
  };
}

/** Exactly `count` bytes; undefined where the source ends before the first of them. */
export async function exactly(source: TarSource, count: number): Promise<Buffer | undefined> {
  const first = await source.some(count);
  if (first === undefined || first.length === count) return first;
  const pieces = [first];
  for (let have = first.length; have < count; ) {
    const piece = await source.some(count - have);
    if (piece === undefined) throw cutShort();
    pieces.push(piece);
    have += piece.length;
  }
  return Buffer.concat(pieces);
}

type Extensions = { pax: PaxRecords; longPath?: string; longLink?: string };

const isZero = (block: Buffer): boolean => block.every((byte) => byte === 0);

const unsupported = (what: string): BerthError =>
  new BerthError('invalid-argument', 'IMAGE_ARCHIVE_UNSUPPORTED', `the archive has ${what}, which Berth does not read`);

async function payload(source: TarSource, size: number): Promise<Buffer> {
  if (size > MAX_EXTENDED_HEADER_BYTES) throw damaged(`an extended header is longer than ${MAX_EXTENDED_HEADER_BYTES} bytes`);
  const data = size === 0 ? Buffer.alloc(0) : await exactly(source, size);
  if (data === undefined) throw cutShort();
  await source.skip(padding(size));
  return data;
}

const untilNul = (data: Buffer): string => data.toString('latin1', 0, data.indexOf(0) < 0 ? data.length : data.indexOf(0));

function paxNumber(pax: PaxRecords, key: string): number | undefined {
  const value = pax.get(key);
  if (value === undefined) return undefined;
  const n = Number(value);
  if (!/^\d+$/.test(value) || !Number.isSafeInteger(n)) throw damaged(`the ${key} in an extended header is no number`);
  return n;
}

function paxTime(pax: PaxRecords): string | undefined {
  const value = pax.get('mtime');
  if (value === undefined) return undefined;
  const match = /^(-?\d{1,12})(?:(\.\d{1,9})\d*)?$/.exec(value);
  if (match === null) throw damaged('the mtime in an extended header is no number');
  return `${match[1]}${match[2] ?? ''}`;
}

const XATTR = 'SCHILY.xattr.';

function complete(header: RawHeader, ext: Extensions): TarEntry {
  const { pax } = ext;
  for (const key of pax.keys()) {
    if (key.startsWith('GNU.sparse.') || key === 'SCHILY.realsize') throw unsupported('sparse files (made with tar --sparse)');
  }
  const path = pax.get('path') ?? ext.longPath ?? header.path;
  const type = typeOf(header.flag, path);
  if (type === undefined) throw unsupported(`a member of the unknown type "${header.flag}"`);
  const xattrs = new Map<string, string>();
  for (const [key, value] of pax) if (key.startsWith(XATTR)) xattrs.set(key.slice(XATTR.length), value);
  return {
    path,
    type,
    mode: header.mode,
    uid: paxNumber(pax, 'uid') ?? header.uid,
    gid: paxNumber(pax, 'gid') ?? header.gid,
    // Old programs wrote the size of the target into hard links, with no data behind them.
    size: type === 'file' ? (paxNumber(pax, 'size') ?? header.size) : 0,
    mtime: paxTime(pax) ?? header.mtime,
    linkPath: type === 'link' || type === 'symlink' ? (pax.get('linkpath') ?? ext.longLink ?? header.linkPath) : '',
    devMajor: header.devMajor,
    devMinor: header.devMinor,
    xattrs,
  };
}

/**
 * The next member; undefined at the end of the archive (two zero blocks, or the end of the bytes where a header would begin).
 * The caller goes over the member's data and its padding before it asks again.
 */
export async function nextEntry(source: TarSource): Promise<TarEntry | undefined> {
  const ext: Extensions = { pax: new Map() };
  for (let wasZero = false; ; ) {
    const block = await exactly(source, BLOCK);
    if (block === undefined) return undefined;
    if (isZero(block)) {
      if (wasZero) return undefined;
      wasZero = true;
      continue;
    }
    if (wasZero) throw damaged('members follow an empty block');
    const header = parseHeader(block);
    switch (header.flag) {
      case 'x':
        for (const [key, value] of parsePax(await payload(source, header.size))) ext.pax.set(key, value);
        continue;
      case 'g':
        // Global records (git archive puts its commit there) say nothing that an image needs; Docker ignores them too.
        await payload(source, header.size);
        continue;
      case 'L':
        ext.longPath = untilNul(await payload(source, header.size));
        continue;
      case 'K':
        ext.longLink = untilNul(await payload(source, header.size));
        continue;
      case 'V':
        continue;
      case 'S':
        throw unsupported('sparse files (made with tar --sparse)');
      case 'M':
        throw unsupported('a member that continues from another volume');
      default:
        return complete(header, ext);
    }
  }
}
