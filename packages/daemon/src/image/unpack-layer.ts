/** One layer from its blob to a directory that overlayfs can use as a lower one. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { bounded, decompressed, hashed } from './bytes.ts';
import { filterLayer, LayerPolicy } from './layer-filter.ts';
import type { ImageLimits } from './limits.ts';
import { CHUNK_BYTES } from './limits.ts';
import { untar } from './tar-child.ts';
import { streamSource } from './tar-reader.ts';
import { markWhiteouts } from './whiteouts.ts';

export type UnpackedLayer = {
  /** SHA-256 of the plain tar, 64 hex digits. */
  readonly diffId: string;
  /** Nothing of the layers below shows. */
  readonly opaque: boolean;
  /** On disk. */
  readonly bytes: number;
  readonly inodes: number;
};

/** Unpacks `blob` (plain, gzip or zstd) into the empty directory `directory`; on failure what is there is the caller's to remove. */
export async function unpackLayer(
  blob: AsyncIterable<Buffer>,
  directory: string,
  limits: ImageLimits,
  signal?: AbortSignal,
): Promise<UnpackedLayer> {
  const diffId = createHash('sha256');
  const plain = hashed(bounded(decompressed(blob), limits.maxLayerBytes, 'layer'), diffId);
  const source = streamSource(plain);
  const policy = new LayerPolicy(limits);
  async function* clean(): AsyncGenerator<Buffer> {
    try {
      yield* filterLayer(source, policy);
      // What follows the end of the archive (padding to whole records) counts in the digests.
      while ((await source.some(CHUNK_BYTES)) !== undefined);
    } finally {
      await plain.return(undefined);
    }
  }
  await untar(clean(), directory, signal);
  await markWhiteouts(directory, policy.whiteouts, signal);
  return {
    diffId: diffId.digest('hex'),
    opaque: policy.whiteouts.opaque.has(''),
    ...(await diskUsage(directory)),
  };
}

const run = promisify(execFile);

/** What a tree takes on its file system; hard links count once. */
async function diskUsage(directory: string): Promise<{ bytes: number; inodes: number }> {
  const count = async (...options: string[]): Promise<number> => {
    const { stdout } = await run('du', ['--summarize', '--one-file-system', ...options, '--', directory]);
    return Number.parseInt(stdout, 10);
  };
  return { bytes: await count('--block-size=1'), inodes: await count('--inodes') };
}
