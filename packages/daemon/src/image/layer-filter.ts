/** The policy of unpacking: turns an untrusted layer into an archive that GNU tar may be trusted with, and sets whiteouts aside. */
import { BerthError } from '../util/errors.ts';
import { CHUNK_BYTES, MAX_NAME_BYTES, MAX_PATH_BYTES, type ImageLimits } from './limits.ts';
import { BLOCK, damaged, encodeHeader, padding, type TarEntry } from './tar-header.ts';
import { nextEntry, type TarSource } from './tar-reader.ts';

/** What a layer hides of the layers below it (OCI image-spec, "Whiteouts"). */
export type Whiteouts = {
  /** Paths that are gone. */
  readonly removed: Set<string>;
  /** Directories of which nothing below shows; the empty path is the root. */
  readonly opaque: Set<string>;
};

const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
/** Everything else with this prefix is bookkeeping of AUFS. */
const AUFS_META = '.wh..wh.';

/** Attributes that mean something inside a container. `trusted.overlay.*` from outside could redirect lookups, SELinux labels belong to the host. */
const allowedXattr = (name: string): boolean =>
  name.startsWith('user.') ||
  name === 'security.capability' ||
  name === 'system.posix_acl_access' ||
  name === 'system.posix_acl_default';

/** Readable form of a byte string for messages. */
export const shown = (path: string): string => JSON.stringify(Buffer.from(path, 'latin1').toString('utf8'));

const hostile = (path: string, why: string): BerthError =>
  new BerthError('invalid-argument', 'IMAGE_LAYER_REFUSED', `the layer is refused: its member ${shown(path)} ${why}`);

const tooLarge = (what: string): BerthError =>
  new BerthError('resource-exhausted', 'IMAGE_TOO_LARGE', `the layer has more than ${what}`);

/** Components of a path below the archive's root; throws where it would leave it. */
function components(path: string, ofEntry: string, role: string): string[] {
  if (path.length > MAX_PATH_BYTES) throw hostile(ofEntry.slice(0, 100), `has a ${role} longer than ${MAX_PATH_BYTES} bytes`);
  if (path.includes('\0')) throw hostile(ofEntry, `has a ${role} with a NUL byte`);
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.some((part) => part.length > MAX_NAME_BYTES)) throw hostile(ofEntry, `has a name longer than ${MAX_NAME_BYTES} bytes`);
  if (parts.includes('..')) throw hostile(ofEntry, `has a ${role} with ".." in it`);
  return parts;
}

/** Whether a link's target may leave the directory that the link is in. */
const leaves = (target: string): boolean => target.startsWith('/') || target.split('/').includes('..');

const prefixes = (parts: readonly string[]): string[] => parts.slice(0, -1).map((_, i) => parts.slice(0, i + 1).join('/'));

/**
 * Checks members one by one. GNU tar guards against links itself (it makes such links last); this refuses what an honest layer
 * never has, with a sentence that says what it is, before anything reaches the disk.
 */
export class LayerPolicy {
  readonly whiteouts: Whiteouts = { removed: new Set(), opaque: new Set() };
  /** Links of this layer that lead out of their own directory, with their targets: nothing may be unpacked through them. */
  readonly #leaving = new Map<string, string>();
  readonly #limits: ImageLimits;
  #entries = 0;

  constructor(limits: ImageLimits) {
    this.#limits = limits;
  }

  /** The member as it may be unpacked; undefined where there is nothing to unpack: whiteouts, and links that are there already. */
  check(entry: TarEntry): TarEntry | undefined {
    if (++this.#entries > this.#limits.maxLayerEntries) throw tooLarge(`${this.#limits.maxLayerEntries} members`);
    const parts = components(entry.path, entry.path, 'path');
    const name = parts.at(-1) ?? '';
    this.#refuseThroughLinks(parts, entry.path);
    if (name.startsWith(WHITEOUT)) {
      this.#whiteout(parts, name);
      return undefined;
    }
    const path = parts.join('/');
    if (path === '' && entry.type !== 'dir') throw hostile(entry.path, 'would replace the root directory');
    const before = this.#leaving.get(path);
    if (before !== undefined) {
      // tar makes such links last of all, in place of whatever has the inode of their stand-in by then: they cannot be replaced.
      if (entry.type === 'symlink' && entry.linkPath === before) return undefined;
      throw hostile(entry.path, 'comes twice, first as a link out of its directory');
    }
    let linkPath = entry.linkPath;
    if (entry.type === 'symlink') {
      if (linkPath === '' || linkPath.length > MAX_PATH_BYTES || linkPath.includes('\0'))
        throw hostile(entry.path, 'has no usable link target');
      if (leaves(linkPath)) this.#leaving.set(path, linkPath);
    }
    if (entry.type === 'link') {
      const target = components(linkPath, entry.path, 'link target');
      this.#refuseThroughLinks(target, entry.path);
      linkPath = `./${target.join('/')}`;
    }
    const xattrs = new Map([...entry.xattrs].filter(([key]) => allowedXattr(key)));
    return { ...entry, path: path === '' ? './' : `./${path}`, linkPath, xattrs };
  }

  #refuseThroughLinks(parts: readonly string[], path: string): void {
    for (const parent of prefixes(parts)) {
      if (this.#leaving.has(parent)) throw hostile(path, `leads through the link ${shown(parent)}, out of its directory`);
    }
  }

  #whiteout(parts: readonly string[], name: string): void {
    const parent = parts.slice(0, -1);
    if (name === OPAQUE) {
      this.whiteouts.opaque.add(parent.join('/'));
      return;
    }
    if (name.startsWith(AUFS_META)) return;
    const hidden = name.slice(WHITEOUT.length);
    if (hidden === '' || hidden === '.' || hidden === '..') throw hostile(parts.join('/'), 'is a whiteout of nothing');
    this.whiteouts.removed.add([...parent, hidden].join('/'));
  }
}

/** Two zero blocks end an archive. */
export const END_OF_ARCHIVE: Buffer = Buffer.alloc(2 * BLOCK);

/** Small headers are joined until they have this many bytes: a write per member would cost more than the copy. */
const JOIN_BYTES = 64 * 1024;

/** The layer as a clean archive: every header is written anew, so that what was checked is what tar sees. */
export async function* filterLayer(source: TarSource, policy: LayerPolicy): AsyncGenerator<Buffer> {
  let joined: Buffer[] = [];
  let bytes = 0;
  const push = (piece: Buffer): boolean => {
    joined.push(piece);
    bytes += piece.length;
    return bytes >= JOIN_BYTES;
  };
  const take = (): Buffer => {
    const all = Buffer.concat(joined);
    joined = [];
    bytes = 0;
    return all;
  };
  for (let entry = await nextEntry(source); entry !== undefined; entry = await nextEntry(source)) {
    const clean = policy.check(entry);
    const pad = padding(entry.size);
    if (clean === undefined) {
      await source.skip(entry.size + pad);
      continue;
    }
    if (push(encodeHeader(clean))) yield take();
    for (let left = entry.size + pad; left > 0; ) {
      const piece = await source.some(Math.min(left, CHUNK_BYTES));
      if (piece === undefined) throw damaged(`it ends within the member ${shown(entry.path)}`);
      left -= piece.length;
      if (piece.length >= JOIN_BYTES) {
        if (bytes > 0) yield take();
        yield piece;
      } else if (push(piece)) yield take();
    }
  }
  push(END_OF_ARCHIVE);
  yield take();
}
