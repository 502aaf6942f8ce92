/** Streams of bytes on their way into the store: hashing, bounding, decompressing by content. */
import { createHash, type Hash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { Readable, pipeline, type Transform } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { BerthError } from '../util/errors.ts';
import { CHUNK_BYTES } from './limits.ts';
import { damaged } from './tar-header.ts';

/** A stream that somebody sends us, until `signal`: the sender may stop sending for ever, so nothing waits for its iterator then. */
export async function* received(source: AsyncIterable<Uint8Array>, signal?: AbortSignal): AsyncGenerator<Buffer> {
  const iterator = source[Symbol.asyncIterator]();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  aborted.catch(() => undefined);
  const abort = (): void => reject(signal?.reason);
  signal?.addEventListener('abort', abort, { once: true });
  try {
    signal?.throwIfAborted();
    for (;;) {
      const next = await Promise.race([iterator.next(), aborted]);
      if (next.done) return;
      const { buffer, byteOffset, length } = next.value;
      if (length > 0) yield Buffer.from(buffer, byteOffset, length);
    }
  } finally {
    signal?.removeEventListener('abort', abort);
    iterator.return?.().catch(() => undefined);
  }
}

/** Passes a stream on and adds it to `hash`. */
export async function* hashed(source: AsyncIterable<Buffer>, hash: Hash): AsyncGenerator<Buffer> {
  for await (const chunk of source) {
    hash.update(chunk);
    yield chunk;
  }
}

/** Passes a stream on up to `max` bytes; throws `IMAGE_TOO_LARGE` at the byte after. */
export async function* bounded(source: AsyncIterable<Buffer>, max: number, what: string): AsyncGenerator<Buffer> {
  let total = 0;
  for await (const chunk of source) {
    total += chunk.length;
    if (total > max) throw new BerthError('resource-exhausted', 'IMAGE_TOO_LARGE', `the ${what} has more than ${max} bytes`);
    yield chunk;
  }
}

/** Bytes [start, end) of a file. */
export async function* fileRange(file: FileHandle, start: number, end: number): AsyncGenerator<Buffer> {
  for (let position = start; position < end; ) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(Math.min(CHUNK_BYTES, end - position)), { position });
    if (bytesRead === 0) throw damaged('it ends in the middle');
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

export async function sha256Of(source: AsyncIterable<Buffer>): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of source) hash.update(chunk);
  return hash.digest('hex');
}

/** Enough for every magic number below. */
const MAGIC_BYTES = 6;

const startsWith = (head: Buffer, ...bytes: number[]): boolean => bytes.every((byte, i) => head[i] === byte);

const notRead = (what: string): BerthError =>
  new BerthError(
    'invalid-argument',
    'IMAGE_ARCHIVE_UNSUPPORTED',
    `the archive is compressed with ${what}; Berth reads plain, gzip and zstd`,
  );

function decompressor(head: Buffer): Transform | undefined {
  if (startsWith(head, 0x1f, 0x8b)) return createGunzip({ chunkSize: CHUNK_BYTES });
  if (startsWith(head, 0x28, 0xb5, 0x2f, 0xfd)) return createZstdDecompress({ chunkSize: CHUNK_BYTES });
  if (startsWith(head, 0xfd, 0x37, 0x7a, 0x58, 0x5a)) throw notRead('xz');
  if (startsWith(head, 0x42, 0x5a, 0x68) && !startsWith(head.subarray(3), 0)) throw notRead('bzip2');
  return undefined;
}

async function* joined(head: Buffer, rest: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  yield head;
  for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value;
}

async function* transformed(source: AsyncIterable<Buffer>, transform: Transform): AsyncGenerator<Buffer> {
  // The callback is there so that a failure is not thrown twice: whoever iterates gets it.
  pipeline(Readable.from(source, { objectMode: false, highWaterMark: 1 }), transform, () => undefined);
  try {
    yield* transform;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (!/^(Z|ZSTD)_|^ERR_.*ZSTD/i.test(code)) throw error;
    throw damaged(`its compressed data cannot be read (${code})`, { cause: error });
  } finally {
    transform.destroy();
  }
}

/** The plain bytes of a stream that is plain, gzip or zstd: its first bytes say which. */
export async function* decompressed(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const iterator = source[Symbol.asyncIterator]();
  try {
    let head: Buffer = Buffer.alloc(0);
    while (head.length < MAGIC_BYTES) {
      const next = await iterator.next();
      if (next.done) break;
      head = Buffer.concat([head, next.value]);
    }
    const plain = joined(head, iterator);
    const transform = decompressor(head);
    yield* transform === undefined ? plain : transformed(plain, transform);
  } finally {
    await iterator.return?.();
  }
}
