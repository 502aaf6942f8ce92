/** The images of this machine: finds them, imports them, removes them; the index file on disk always agrees with what is there. */
import { createHash } from 'node:crypto';
import { mkdir, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError } from '../util/errors.ts';
import { KeyedMutex } from '../util/keyed-mutex.ts';
import type { Log } from '../util/log.ts';
import { readArchive } from './archive.ts';
import { bounded, decompressed, fileRange, received } from './bytes.ts';
import { anonymousFile, dropHalfReplaced, explained, isNoSpace, syncFileSystem } from './files.ts';
import { parseImageConfig } from './image-config.ts';
import { readIndex, toImage, writeIndex, type ImageRecord } from './image-index.ts';
import type { Image, ImageStore } from './image.ts';
import { LayerStore } from './layer-store.ts';
import { DEFAULT_IMAGE_LIMITS, type ImageLimits } from './limits.ts';
import { HOST_PLATFORM, requirePlatform } from './platform.ts';
import { normaliseName, parseReference } from './reference.ts';
import { damaged } from './tar-header.ts';

type Entry = { readonly record: ImageRecord; readonly image: Image };

/** Changes of the index go one after the other. */
const INDEX = 'index';

/**
 * Opens the images below `root`, in `<root>/images`, and clears away what a killed daemon left half-made. Not for two daemons at once.
 * Throws `IMAGE_INDEX_DAMAGED`.
 */
export async function openImageStore(root: string, log: Log, limits: Partial<ImageLimits> = {}): Promise<ImageStore> {
  const directory = join(root, 'images');
  // Layers hold set-user-id programs: nobody but root may reach them outside of a container.
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const store = new FileImageStore(directory, log, { ...DEFAULT_IMAGE_LIMITS, ...limits });
  await store.open();
  return store;
}

class FileImageStore implements ImageStore {
  readonly #directory: string;
  readonly #scratch: string;
  readonly #indexPath: string;
  readonly #log: Log;
  readonly #limits: ImageLimits;
  readonly #layers: LayerStore;
  readonly #mutex = new KeyedMutex();
  #images: ReadonlyMap<string, Entry> = new Map();
  #names: ReadonlyMap<string, Entry> = new Map();

  constructor(directory: string, log: Log, limits: ImageLimits) {
    this.#directory = directory;
    this.#scratch = join(directory, 'tmp');
    this.#indexPath = join(directory, 'index.json');
    this.#log = log;
    this.#limits = limits;
    this.#layers = new LayerStore(join(directory, 'layers'), this.#scratch, limits);
  }

  async open(): Promise<void> {
    const index = await readIndex(this.#indexPath);
    await dropHalfReplaced(this.#indexPath);
    const missing = await this.#layers.open(index.layers);
    const whole = index.images.filter((image) => image.diffIds.every((diffId) => !missing.has(diffId)));
    for (const { id } of index.images.filter((image) => !whole.includes(image))) {
      this.#log.error({ image: id }, 'an image is dropped: somebody has removed one of its layers');
    }
    this.#show(whole);
    await this.#collect();
  }

  find(reference: string): Image | undefined {
    return this.#lookUp(reference)?.entry.image;
  }

  list(): readonly Image[] {
    return this.#images
      .values()
      .map(({ image }) => image)
      .toArray();
  }

  async import(source: AsyncIterable<Uint8Array>, names: readonly string[], signal?: AbortSignal): Promise<Image> {
    if (names.length > this.#limits.maxNames) {
      throw new BerthError(
        'invalid-argument',
        'IMAGE_NAME_INVALID',
        `an image gets at most ${this.#limits.maxNames} names in one import`,
      );
    }
    const given = names.map(normaliseName);
    let spool: FileHandle | undefined;
    try {
      spool = await anonymousFile(this.#scratch);
      const size = await this.#spool(source, spool, signal);
      return await this.#importArchive(spool, size, given, signal);
    } catch (error) {
      throw explained(error);
    } finally {
      await spool?.close();
    }
  }

  async remove(reference: string, inUse: (imageId: string) => boolean): Promise<void> {
    await this.#mutex.run(INDEX, async () => {
      const found = this.#lookUp(reference);
      if (found === undefined) return;
      const { record } = found.entry;
      const names = record.names.filter((name) => found.name !== undefined && name !== found.name);
      if (names.length === 0 && inUse(`sha256:${record.id}`)) {
        throw new BerthError(
          'failed-precondition',
          'IMAGE_IN_USE',
          `the image ${reference} is used by a container; remove the container first`,
        );
      }
      const others = this.#records().filter((other) => other !== record);
      // Shown before it is written: from here on no container can be made of it.
      if (names.length > 0) await this.#replace([...others, { ...record, names }]);
      else await this.#drop(record, others);
    });
    await this.#collect();
  }

  /** Removes an image. On a full disk its layers go first, since the index is written anew; `open` drops images without their layers. */
  async #drop(record: ImageRecord, others: readonly ImageRecord[]): Promise<void> {
    try {
      await this.#replace(others);
    } catch (error) {
      const shared = new Set(others.flatMap(({ diffIds }) => diffIds));
      if (!isNoSpace(error) || record.diffIds.every((diffId) => shared.has(diffId))) throw error;
      this.#show(others);
      await this.#collectLayers();
      await this.#replace(others).catch((cause: unknown) =>
        this.#log.warn(
          { image: record.id, error: String(cause) },
          'that an image was removed could not be written down; the next start finds out',
        ),
      );
    }
  }

  async usage(): Promise<{ readonly path: string; readonly bytes: number; readonly inodes: number }> {
    let bytes = 0;
    let inodes = 0;
    for (const layer of this.#layers.all()) {
      bytes += layer.bytes;
      inodes += layer.inodes;
    }
    return { path: this.#directory, bytes, inodes };
  }

  #records(): ImageRecord[] {
    return this.#images
      .values()
      .map(({ record }) => record)
      .toArray();
  }

  /** `name` is set where the reference is a name and not an id. */
  #lookUp(reference: string): { readonly entry: Entry; readonly name?: string } | undefined {
    const { id, name, idPrefix } = parseReference(reference);
    const byId = id === undefined ? undefined : this.#images.get(id);
    if (byId !== undefined) return { entry: byId };
    const byName = name === undefined ? undefined : this.#names.get(name);
    if (byName !== undefined && name !== undefined) return { entry: byName, name };
    if (idPrefix === undefined) return undefined;
    const [first, second] = this.#images.values().filter(({ record }) => record.id.startsWith(idPrefix));
    if (second !== undefined) {
      throw new BerthError(
        'invalid-argument',
        'IMAGE_ID_AMBIGUOUS',
        `several images have ids that begin with "${idPrefix}"; give more digits`,
      );
    }
    return first === undefined ? undefined : { entry: first };
  }

  /** Writes the stream to `file`, without its outer compression: members of an archive are read in any order. Gives the bytes. */
  async #spool(source: AsyncIterable<Uint8Array>, file: FileHandle, signal?: AbortSignal): Promise<number> {
    let size = 0;
    const sent = bounded(received(source, signal), this.#limits.maxArchiveBytes, 'archive');
    for await (const chunk of bounded(decompressed(sent), this.#limits.maxArchiveBytes, 'archive')) {
      for (let done = 0; done < chunk.length; ) done += (await file.write(chunk, done)).bytesWritten;
      size += chunk.length;
    }
    return size;
  }

  async #importArchive(file: FileHandle, size: number, given: readonly string[], signal?: AbortSignal): Promise<Image> {
    const archive = await readArchive(file, size);
    const config = parseImageConfig(archive.config);
    requirePlatform(config, HOST_PLATFORM);
    if (archive.layers.length !== config.diffIds.length) {
      throw damaged(`it has ${archive.layers.length} layers and its config names ${config.diffIds.length}`);
    }
    if (config.diffIds.length === 0) throw new BerthError('invalid-argument', 'IMAGE_ARCHIVE_EMPTY', 'the image has no layers');
    if (config.diffIds.length > this.#limits.maxLayers) {
      throw new BerthError('resource-exhausted', 'IMAGE_TOO_LARGE', `the image has more than ${this.#limits.maxLayers} layers`);
    }
    const names = given.length > 0 ? given : archive.names.slice(0, this.#limits.maxNames).map(normaliseName);
    const unpin = this.#layers.pin(config.diffIds);
    try {
      let isNew = false;
      for (const [i, { start, end, digest }] of archive.layers.entries()) {
        const diffId = config.diffIds[i] ?? '';
        isNew = (await this.#layers.ensure({ diffId, digest, blob: () => fileRange(file, start, end) }, signal)) || isNew;
      }
      if (isNew) await syncFileSystem(this.#directory);
      signal?.throwIfAborted();
      const id = createHash('sha256').update(archive.config).digest('hex');
      return await this.#commit({ id, names, diffIds: config.diffIds, run: config.run });
    } finally {
      unpin();
      await this.#collect();
    }
  }

  /** Puts the image into the index; a name that another image has moves here. */
  #commit(added: ImageRecord): Promise<Image> {
    return this.#mutex.run(INDEX, async () => {
      const before = this.#images.get(added.id)?.record.names ?? [];
      const names = new Set([...before, ...added.names]);
      const others = this.#records()
        .filter(({ id }) => id !== added.id)
        .map((other) =>
          other.names.some((name) => names.has(name)) ? { ...other, names: other.names.filter((name) => !names.has(name)) } : other,
        );
      const record = { ...added, names: [...names] };
      await this.#replace([...others, record]);
      this.#log.info({ image: added.id, names: record.names, layers: added.diffIds.length }, 'an image was imported');
      const entry = this.#images.get(added.id);
      if (entry === undefined) throw new Error('the imported image is not in the index');
      return entry.image;
    });
  }

  /** Makes `records` all there is, in memory and on disk; where writing fails nothing has changed. */
  async #replace(records: readonly ImageRecord[]): Promise<void> {
    const before = this.#records();
    this.#show(records);
    const needed = new Set(records.flatMap(({ diffIds }) => diffIds));
    try {
      await writeIndex(this.#indexPath, { layers: [...needed].map((diffId) => this.#layers.get(diffId)), images: records });
    } catch (error) {
      this.#show(before);
      throw explained(error);
    }
  }

  /** An image whose record is the same keeps its object: containers share it. */
  #show(records: readonly ImageRecord[]): void {
    const entries = records.map((record): Entry => {
      const known = this.#images.get(record.id);
      if (known?.record === record) return known;
      return { record, image: toImage(record, (diffId) => this.#layers.get(diffId), this.#layers.path) };
    });
    this.#images = new Map(entries.map((entry) => [entry.record.id, entry]));
    this.#names = new Map(entries.flatMap((entry) => entry.record.names.map((name): [string, Entry] => [name, entry])));
  }

  /** Layers go when the last image that has them is gone from the index on disk. */
  async #collect(): Promise<void> {
    await this.#mutex.run(INDEX, async () => await this.#collectLayers());
  }

  async #collectLayers(): Promise<void> {
    const needed = new Set(this.#records().flatMap(({ diffIds }) => diffIds));
    try {
      await this.#layers.collect((diffId) => needed.has(diffId));
    } catch (error) {
      this.#log.warn({ error: String(error) }, 'layers that are no longer needed could not be removed; the next start does it');
    }
  }
}
