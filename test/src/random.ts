/** Large files and streams of random bytes with a known SHA-256, quick to make and the same every time. */
import { createCipheriv, createHash } from 'node:crypto';
import { open } from 'node:fs/promises';

const BLOCK = Buffer.alloc(1024 * 1024);

/** Pieces of 1 MiB (the last may be shorter) of AES-CTR over zeros. */
export function* randomBlocks(bytes: number, seed = 1): Generator<Buffer> {
  const key = createHash('sha256').update(String(seed)).digest().subarray(0, 16);
  const cipher = createCipheriv('aes-128-ctr', key, Buffer.alloc(16));
  for (let left = bytes; left > 0; left -= BLOCK.length) yield cipher.update(left < BLOCK.length ? BLOCK.subarray(0, left) : BLOCK);
}

/** Writes a file of them; gives its SHA-256. */
export async function randomFile(path: string, bytes: number, seed = 1): Promise<string> {
  const hash = createHash('sha256');
  await using file = await open(path, 'w', 0o644);
  for (const block of randomBlocks(bytes, seed)) {
    hash.update(block);
    await file.write(block);
  }
  return hash.digest('hex');
}

export function randomSha256(bytes: number, seed = 1): string {
  const hash = createHash('sha256');
  for (const block of randomBlocks(bytes, seed)) hash.update(block);
  return hash.digest('hex');
}
