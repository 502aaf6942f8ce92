/** Finds out what an archive is (OCI, Docker, or a root file system) and what image is in it. */
import type { FileHandle } from 'node:fs/promises';
import { BerthError } from '../util/errors.ts';
import { fileRange, sha256Of } from './bytes.ts';
import { readDockerArchive } from './docker-archive.ts';
import { generateConfig } from './image-config.ts';
import { MAX_ARCHIVE_MEMBERS, MAX_JSON_BYTES } from './limits.ts';
import { readOciArchive } from './oci-archive.ts';
import { HOST_PLATFORM, type Platform } from './platform.ts';
import { damaged, isHeader, padding, BLOCK } from './tar-header.ts';
import { fileSource, nextEntry } from './tar-reader.ts';

/** Where some bytes stand in the archive. */
export type Extent = { readonly start: number; readonly end: number };

export type ArchiveLayer = Extent & {
  /** SHA-256 that the blob must have, 64 hex digits; undefined where the archive does not say. */
  readonly digest: string | undefined;
};

/** An image as its archive describes it, nothing of it verified but the config's digest. */
export type ArchiveImage = {
  readonly config: Buffer;
  /** Lowest first, as many as the config has diff ids. */
  readonly layers: readonly ArchiveLayer[];
  /** Names that the archive itself gives. */
  readonly names: readonly string[];
};

/** The members of an archive by path, with links followed. */
export class Members {
  readonly #file: FileHandle;
  readonly #extents: ReadonlyMap<string, Extent>;
  readonly #links: ReadonlyMap<string, string>;

  constructor(file: FileHandle, extents: ReadonlyMap<string, Extent>, links: ReadonlyMap<string, string>) {
    this.#file = file;
    this.#extents = extents;
    this.#links = links;
  }

  has(path: string): boolean {
    return this.#find(path) !== undefined;
  }

  extent(path: string): Extent {
    const found = this.#find(path);
    if (found === undefined) throw damaged(`it has no member "${path}"`);
    return found;
  }

  /** Bytes of a small member; throws above 4 MiB. */
  async read(path: string): Promise<Buffer> {
    const { start, end } = this.extent(path);
    if (end - start > MAX_JSON_BYTES) throw damaged(`"${path}" is larger than ${MAX_JSON_BYTES} bytes`);
    return Buffer.concat(await Array.fromAsync(fileRange(this.#file, start, end)));
  }

  async sha256(path: string): Promise<string> {
    const { start, end } = this.extent(path);
    return sha256Of(fileRange(this.#file, start, end));
  }

  #find(path: string): Extent | undefined {
    // Old versions of docker save store a layer that they have already stored as a link to it. Links to links were never made.
    const own = normalise(path);
    return this.#extents.get(own) ?? this.#extents.get(this.#links.get(own) ?? '');
  }
}

const normalise = (path: string): string => {
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.join('/');
};

/** Lists a plain tar without reading its data; undefined where it has more members than an image archive can have. */
async function listMembers(file: FileHandle, size: number): Promise<Members | undefined> {
  const source = fileSource(file, 0, size);
  const extents = new Map<string, Extent>();
  const links = new Map<string, string>();
  let count = 0;
  for (let entry = await nextEntry(source); entry !== undefined; entry = await nextEntry(source)) {
    if (++count > MAX_ARCHIVE_MEMBERS) return undefined;
    const path = normalise(entry.path);
    const directory = path.split('/').slice(0, -1).join('/');
    if (entry.type === 'file') extents.set(path, { start: source.at, end: source.at + entry.size });
    if (entry.type === 'link') links.set(path, normalise(entry.linkPath));
    if (entry.type === 'symlink') links.set(path, normalise(`${directory}/${entry.linkPath}`));
    await source.skip(entry.size + padding(entry.size));
  }
  return new Members(file, extents, links);
}

async function requireTar(file: FileHandle, size: number): Promise<void> {
  if (size === 0) throw new BerthError('invalid-argument', 'IMAGE_ARCHIVE_EMPTY', 'the archive is empty');
  const head = Buffer.alloc(BLOCK);
  const { bytesRead } = await file.read(head, 0, BLOCK, 0);
  if (bytesRead === BLOCK && isHeader(head)) return;
  throw new BerthError(
    'invalid-argument',
    'IMAGE_ARCHIVE_UNSUPPORTED',
    'the file is no tar archive: a root file system, an OCI archive or a docker archive is expected, plain or compressed with gzip or zstd',
  );
}

/** Reads what the plain tar `file` of `size` bytes holds; throws where it is none of the three, or holds more than one image. */
export async function readArchive(file: FileHandle, size: number, host: Platform = HOST_PLATFORM): Promise<ArchiveImage> {
  await requireTar(file, size);
  const members = await listMembers(file, size);
  // docker save has written both forms since version 25; the OCI one says more about its blobs, the other knows the full names.
  if (members?.has('oci-layout') && members.has('index.json')) return readOciArchive(members, host);
  if (members?.has('manifest.json')) {
    const image = await readDockerArchive(members);
    if (image !== undefined) return image;
  }
  const diffId = await sha256Of(fileRange(file, 0, size));
  return { config: generateConfig(host, diffId), layers: [{ start: 0, end: size, digest: undefined }], names: [] };
}
