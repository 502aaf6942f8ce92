/** Tar headers as bytes: pure parsing and writing of the 512-byte block and of PAX records (POSIX.1-2001, with GNU's additions). */
import { BerthError } from '../util/errors.ts';

export const BLOCK = 512;

export type TarType = 'file' | 'link' | 'symlink' | 'char' | 'block' | 'dir' | 'fifo';

/** One member of an archive. Paths and attribute values are byte strings: one character per byte (latin1), never decoded. */
export type TarEntry = {
  readonly path: string;
  readonly type: TarType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of data that follow; 0 for everything but files. */
  readonly size: number;
  /** Seconds since 1970, decimal, with up to nine digits of fraction. */
  readonly mtime: string;
  readonly linkPath: string;
  readonly devMajor: number;
  readonly devMinor: number;
  readonly xattrs: ReadonlyMap<string, string>;
};

/** A block before extended headers have been applied to it. */
export type RawHeader = Omit<TarEntry, 'type' | 'xattrs'> & { readonly flag: string };

/** PAX records of one extended header, values as byte strings. */
export type PaxRecords = Map<string, string>;

export const damaged = (why: string, options?: ErrorOptions): BerthError =>
  new BerthError('invalid-argument', 'IMAGE_ARCHIVE_DAMAGED', `the archive is damaged: ${why}`, options);

const TYPES: Readonly<Record<string, TarType>> = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'dir',
  '6': 'fifo',
};

const FLAGS: Readonly<Record<TarType, string>> = { file: '0', link: '1', symlink: '2', char: '3', block: '4', dir: '5', fifo: '6' };

/** The type that a flag means; undefined for headers that are no member of their own. */
export const typeOf = (flag: string, path: string): TarType | undefined =>
  // Tar before POSIX had no flag for directories.
  flag === '\0' && path.endsWith('/') ? 'dir' : TYPES[flag];

function text(block: Uint8Array, start: number, length: number): string {
  const field = block.subarray(start, start + length);
  const end = field.indexOf(0);
  return Buffer.from(field.buffer, field.byteOffset, end < 0 ? length : end).toString('latin1');
}

function number(block: Uint8Array, start: number, length: number, what: string): number {
  const first = block[start] ?? 0;
  if (first >= 0x80) {
    // GNU's base-256: the top bit marks it, the next one is the sign.
    let value = first & 0x40 ? BigInt(first) - 256n : BigInt(first & 0x3f);
    for (let i = 1; i < length; i++) value = (value << 8n) | BigInt(block[start + i] ?? 0);
    const n = Number(value);
    if (!Number.isSafeInteger(n)) throw damaged(`the ${what} of a header is out of range`);
    return n;
  }
  const digits = text(block, start, length).trim();
  if (digits === '') return 0;
  if (!/^[0-7]+$/.test(digits)) throw damaged(`the ${what} of a header is no number`);
  return Number.parseInt(digits, 8);
}

/** Whether a block is a tar header: its checksum holds (signed sums were written by very old programs). */
export function isHeader(block: Uint8Array): boolean {
  let unsigned = 0;
  let signed = 0;
  for (let i = 0; i < BLOCK; i++) {
    const byte = i >= 148 && i < 156 ? 0x20 : (block[i] ?? 0);
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  const digits = text(block, 148, 8).trim();
  if (!/^[0-7]+$/.test(digits)) return false;
  const stored = Number.parseInt(digits, 8);
  return stored === unsigned || stored === signed;
}

/** Parses one block; throws `IMAGE_ARCHIVE_DAMAGED` where its checksum or a number is wrong. */
export function parseHeader(block: Uint8Array): RawHeader {
  if (!isHeader(block)) throw damaged('a header has a wrong checksum');
  const isPosix = text(block, 257, 6) === 'ustar';
  const prefix = isPosix ? text(block, 345, 155) : '';
  // Both POSIX and GNU headers say "ustar" here; only the older form has no device numbers.
  const hasDevice = text(block, 257, 5) === 'ustar';
  const name = text(block, 0, 100);
  const size = number(block, 124, 12, 'size');
  if (size < 0) throw damaged('a size is negative');
  return {
    path: prefix === '' ? name : `${prefix}/${name}`,
    flag: String.fromCharCode(block[156] ?? 0),
    mode: number(block, 100, 8, 'mode') & 0o7777,
    uid: number(block, 108, 8, 'uid'),
    gid: number(block, 116, 8, 'gid'),
    size,
    mtime: String(number(block, 136, 12, 'mtime')),
    linkPath: text(block, 157, 100),
    devMajor: hasDevice ? number(block, 329, 8, 'device number') : 0,
    devMinor: hasDevice ? number(block, 337, 8, 'device number') : 0,
  };
}

/** Parses the records of a PAX header: `<length> <key>=<value>\n`, length counting itself. */
export function parsePax(data: Buffer): PaxRecords {
  const records: PaxRecords = new Map();
  let at = 0;
  while (at < data.length) {
    const space = data.indexOf(0x20, at);
    const length = space < 0 || space - at > 8 ? Number.NaN : Number(data.toString('latin1', at, space));
    const end = at + length;
    const equals = data.indexOf(0x3d, space);
    if (!Number.isInteger(length) || end > data.length || equals < 0 || equals >= end || data[end - 1] !== 0x0a) {
      throw damaged('an extended header has a wrong record');
    }
    records.set(data.toString('latin1', space + 1, equals), data.toString('latin1', equals + 1, end - 1));
    at = end;
  }
  return records;
}

function paxRecord(key: string, value: string): string {
  const rest = key.length + value.length + 3;
  let length = rest + 1;
  while (length !== rest + String(length).length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

/** Highest value of an octal field of 8 and of 12 bytes. */
const MAX_OCTAL_8 = 0o7777777;
const MAX_OCTAL_12 = 0o77777777777;

function block(name: string, flag: string, fields: Partial<TarEntry>): Buffer {
  const b = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, length: number, max: number) =>
    b.write((value <= max && value >= 0 ? value : 0).toString(8).padStart(length - 1, '0'), at, 'latin1');
  b.write(name.slice(0, 100), 0, 'latin1');
  octal(fields.mode ?? 0o644, 100, 8, MAX_OCTAL_8);
  octal(fields.uid ?? 0, 108, 8, MAX_OCTAL_8);
  octal(fields.gid ?? 0, 116, 8, MAX_OCTAL_8);
  octal(fields.size ?? 0, 124, 12, MAX_OCTAL_12);
  octal(Number.parseInt(fields.mtime ?? '0', 10), 136, 12, MAX_OCTAL_12);
  b.write('        ', 148, 'latin1');
  b.write(flag, 156, 'latin1');
  b.write((fields.linkPath ?? '').slice(0, 100), 157, 'latin1');
  b.write('ustar\x0000', 257, 'latin1');
  octal(fields.devMajor ?? 0, 329, 8, MAX_OCTAL_8);
  octal(fields.devMinor ?? 0, 337, 8, MAX_OCTAL_8);
  const sum = b.reduce((a, byte) => a + byte, 0);
  b.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return b;
}

/** Zero bytes that follow `size` bytes of data. */
export const padding = (size: number): number => (BLOCK - (size % BLOCK)) % BLOCK;

/** The header of a member, with a PAX header before it where the block cannot hold everything. */
export function encodeHeader(entry: TarEntry): Buffer {
  let pax = '';
  if (entry.path.length > 100) pax += paxRecord('path', entry.path);
  if (entry.linkPath.length > 100) pax += paxRecord('linkpath', entry.linkPath);
  if (entry.size > MAX_OCTAL_12) pax += paxRecord('size', String(entry.size));
  if (entry.uid > MAX_OCTAL_8) pax += paxRecord('uid', String(entry.uid));
  if (entry.gid > MAX_OCTAL_8) pax += paxRecord('gid', String(entry.gid));
  if (!/^\d{1,10}$/.test(entry.mtime)) pax += paxRecord('mtime', entry.mtime);
  for (const [name, value] of entry.xattrs) pax += paxRecord(`SCHILY.xattr.${name}`, value);
  const header = block(entry.path, FLAGS[entry.type], entry);
  if (pax === '') return header;
  const extended = block('PaxHeaders/x', 'x', { size: pax.length });
  return Buffer.concat([extended, Buffer.from(pax, 'latin1'), Buffer.alloc(padding(pax.length)), header]);
}
