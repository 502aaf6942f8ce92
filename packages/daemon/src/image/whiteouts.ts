/** Writes whiteouts the way that overlayfs reads them: a 0:0 character device for a hidden name, an attribute on an opaque directory. */
import { lstat } from 'node:fs/promises';
import { errnoOf } from '../util/errno.ts';
import { BerthError } from '../util/errors.ts';
import { END_OF_ARCHIVE, shown, type Whiteouts } from './layer-filter.ts';
import { untar } from './tar-child.ts';
import { encodeHeader, type TarEntry } from './tar-header.ts';

const OPAQUE_XATTRS: ReadonlyMap<string, string> = new Map([['trusted.overlay.opaque', 'y']]);
const NONE: ReadonlyMap<string, string> = new Map();

const base = { linkPath: '', size: 0, devMajor: 0, devMinor: 0, uid: 0, gid: 0, mtime: '0' };

/** Not there, or below something that is no directory (which the walk from the root then refuses). */
const isMissing = (error: unknown): boolean => ['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '');

/** The directory as it stands, as a member: tar would else reset its times when something is made in it. */
async function directory(root: Buffer, path: string): Promise<TarEntry | 'missing' | 'other'> {
  try {
    const at = await lstat(Buffer.concat([root, Buffer.from(`/${path}`, 'latin1')]), { bigint: true });
    if (at.isSymbolicLink())
      throw new BerthError('invalid-argument', 'IMAGE_LAYER_REFUSED', `the layer hides something behind the link ${shown(path)}`);
    if (!at.isDirectory()) return 'other';
    const [seconds, rest] = [at.mtimeNs / 1_000_000_000n, at.mtimeNs % 1_000_000_000n];
    return {
      ...base,
      path: path === '' ? './' : `./${path}`,
      type: 'dir',
      mode: Number(at.mode & 0o7777n),
      uid: Number(at.uid),
      gid: Number(at.gid),
      mtime: rest > 0n ? `${seconds}.${String(rest).padStart(9, '0')}` : String(seconds),
      xattrs: NONE,
    };
  } catch (error) {
    if (isMissing(error)) return 'missing';
    throw error;
  }
}

async function exists(root: Buffer, path: string): Promise<'dir' | 'other' | 'missing'> {
  try {
    const at = await lstat(Buffer.concat([root, Buffer.from(`/${path}`, 'latin1')]));
    return at.isDirectory() ? 'dir' : 'other';
  } catch (error) {
    if (isMissing(error)) return 'missing';
    throw error;
  }
}

/** The members of the second archive, in an order in which parents come first. */
async function* marks(root: Buffer, whiteouts: Whiteouts): AsyncGenerator<TarEntry> {
  const opaque = new Set([...whiteouts.opaque].filter((path) => path !== ''));
  const removed: string[] = [];
  for (const path of whiteouts.removed) {
    const found = await exists(root, path);
    // A name that this layer both hides and has: what is below is hidden, what is here shows (OCI image-spec).
    if (found === 'dir') opaque.add(path);
    else if (found === 'missing') removed.push(path);
  }
  const seen = new Set<string>();
  for (const path of [...opaque, ...removed].toSorted()) {
    const isOpaque = opaque.has(path);
    const parts = path.split('/');
    for (let i = 0; i < parts.length + (isOpaque ? 1 : 0); i++) {
      const parent = parts.slice(0, i).join('/');
      if (seen.has(parent)) continue;
      seen.add(parent);
      const found = await directory(root, parent);
      if (found === 'other')
        throw new BerthError(
          'invalid-argument',
          'IMAGE_LAYER_REFUSED',
          `the layer hides something below the file ${shown(parent)}`,
        );
      const entry = found === 'missing' ? { ...base, path: `./${parent}`, type: 'dir' as const, mode: 0o755, xattrs: NONE } : found;
      yield opaque.has(parent) ? { ...entry, xattrs: OPAQUE_XATTRS } : entry;
    }
    if (!isOpaque) yield { ...base, path: `./${path}`, type: 'char', mode: 0, xattrs: NONE };
  }
}

async function* archive(entries: AsyncIterable<TarEntry>): AsyncGenerator<Buffer> {
  for await (const entry of entries) yield encodeHeader(entry);
  yield END_OF_ARCHIVE;
}

/** Marks `whiteouts` in the unpacked layer `root`. An opaque root is not marked there: overlayfs does not look; the caller keeps it. */
export async function markWhiteouts(root: string, whiteouts: Whiteouts, signal?: AbortSignal): Promise<void> {
  if (whiteouts.removed.size === 0 && whiteouts.opaque.size === 0) return;
  await untar(archive(marks(Buffer.from(root), whiteouts)), root, signal);
}
