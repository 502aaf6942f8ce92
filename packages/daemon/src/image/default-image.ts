/** The image that a daemon brings along, so that there is something to run before anything has been imported. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { BerthError, messageOf } from '../util/errors.ts';
import { readArchive } from './archive.ts';
import type { Image, ImageStore } from './image.ts';
import { CHUNK_BYTES } from './limits.ts';
import { normaliseName } from './reference.ts';

/** Names of this domain are Berth's own: a new version of the default image takes them over. */
const OWN_DOMAIN = 'berth.local/';

/**
 * Imports the archive `file` (plain, not compressed) unless its very image is there. Names outside of `berth.local/` are given only
 * where no other image has them: an own `busybox` of the user stays what it is. Throws `DEFAULT_IMAGE_UNREADABLE`.
 */
export async function ensureDefaultImage(store: ImageStore, file: string, signal?: AbortSignal): Promise<Image> {
  const { id, names } = await describe(file);
  const known = store.find(`sha256:${id}`);
  if (known !== undefined) return known;
  const free = names.map(normaliseName).filter((name) => name.startsWith(OWN_DOMAIN) || store.find(name) === undefined);
  return store.import(createReadStream(file, { highWaterMark: CHUNK_BYTES }), free, signal);
}

async function describe(file: string): Promise<{ id: string; names: readonly string[] }> {
  try {
    await using archive = await open(file, 'r');
    const { config, names } = await readArchive(archive, (await archive.stat()).size);
    return { id: createHash('sha256').update(config).digest('hex'), names };
  } catch (cause) {
    const why = messageOf(cause);
    throw new BerthError('failed-precondition', 'DEFAULT_IMAGE_UNREADABLE', `the default image ${file} cannot be read: ${why}`, {
      cause,
    });
  }
}
