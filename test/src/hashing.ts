/** What a process writes or a tree holds, by size and SHA-256. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';

export type Sum = { readonly bytes: number; readonly sha256: string };

/** Reads a stream to its end. */
export async function sumOf(stream: Readable): Promise<Sum> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of stream) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
  }
  return { bytes, sha256: hash.digest('hex') };
}

/** Writes pieces as fast as they are taken, then ends the stream. */
export async function feed(stream: Writable, pieces: Iterable<Uint8Array>): Promise<void> {
  for (const piece of pieces) if (!stream.write(piece)) await once(stream, 'drain');
  stream.end();
}

/** Every file and link below a folder, by its path: what it is and holds. */
export function sumOfTree(folder: string): Record<string, string> {
  const sums: Record<string, string> = {};
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const name = path.slice(folder.length + 1);
    if (entry.isSymbolicLink()) sums[name] = `-> ${readlinkSync(path)}`;
    else if (entry.isFile()) sums[name] = createHash('sha256').update(readFileSync(path)).digest('hex');
  }
  return sums;
}

/** Fails with the place of the first difference, where both texts are too long to be shown. */
export function sameText(actual: string, expected: string): void {
  if (actual === expected) return;
  let at = 0;
  while (at < actual.length && actual[at] === expected[at]) at += 1;
  const around = (text: string): string => JSON.stringify(text.slice(Math.max(0, at - 40), at + 40));
  assert.fail(`${actual.length} characters for ${expected.length}; from ${at} on: ${around(actual)} for ${around(expected)}`);
}
