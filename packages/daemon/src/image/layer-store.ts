/** The layers on disk: each unpacked once, whoever needs it, and kept while an image or a running import needs it. */
import { createHash, randomUUID } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { KeyedMutex } from '../util/keyed-mutex.ts';
import { removeTrees } from '../util/trees.ts';
import { hashed } from './bytes.ts';
import { emptyDirectory } from './files.ts';
import type { LayerRecord } from './image-index.ts';
import type { ImageLimits } from './limits.ts';
import { damaged } from './tar-header.ts';
import { unpackLayer } from './unpack-layer.ts';

/** Hex digits of a directory's name before a clash makes it longer. 127 layers of this length fit into a page of mount options. */
const SHORT_NAME = 12;
const LONGER_BY = 4;

export type WantedLayer = {
  readonly diffId: string;
  /** What the blob must hash to; undefined: not known. */
  readonly digest: string | undefined;
  readonly blob: () => AsyncIterable<Buffer>;
};

export class LayerStore {
  readonly #directory: string;
  readonly #scratch: string;
  readonly #limits: ImageLimits;
  readonly #layers = new Map<string, LayerRecord>();
  /** Imports under way that need a layer, by diff id. */
  readonly #pins = new Map<string, number>();
  readonly #mutex = new KeyedMutex();

  constructor(directory: string, scratch: string, limits: ImageLimits) {
    this.#directory = directory;
    this.#scratch = scratch;
    this.#limits = limits;
  }

  /** Takes over the layers that the index names; everything else below the directory is removed. Gives the diff ids that are missing. */
  async open(known: readonly LayerRecord[]): Promise<ReadonlySet<string>> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    await mkdir(this.#scratch, { recursive: true, mode: 0o700 });
    await emptyDirectory(this.#scratch);
    const present = new Set(await readdir(this.#directory));
    const missing = new Set<string>();
    for (const layer of known) {
      if (present.delete(layer.directory)) this.#layers.set(layer.diffId, layer);
      else missing.add(layer.diffId);
    }
    await removeTrees([...present].map((name) => join(this.#directory, name)));
    return missing;
  }

  get(diffId: string): LayerRecord {
    const layer = this.#layers.get(diffId);
    if (layer === undefined) throw new Error(`layer ${diffId} is not in the store`);
    return layer;
  }

  all(): Iterable<LayerRecord> {
    return this.#layers.values();
  }

  path = (layer: LayerRecord): string => join(this.#directory, layer.directory);

  /** Keeps layers from being collected until the returned function is called. */
  pin(diffIds: readonly string[]): () => void {
    for (const diffId of diffIds) this.#pins.set(diffId, (this.#pins.get(diffId) ?? 0) + 1);
    return () => {
      for (const diffId of diffIds) {
        const left = (this.#pins.get(diffId) ?? 0) - 1;
        if (left > 0) this.#pins.set(diffId, left);
        else this.#pins.delete(diffId);
      }
    };
  }

  /**
   * Unpacks a layer unless it is there; the caller has pinned it. True when it was unpacked. Two callers that want the same layer:
   * one unpacks, the other waits (also beyond its own signal, which it looks at afterwards).
   */
  ensure(wanted: WantedLayer, signal?: AbortSignal): Promise<boolean> {
    return this.#mutex.run(wanted.diffId, async () => {
      signal?.throwIfAborted();
      if (this.#layers.has(wanted.diffId)) return false;
      const scratch = await mkdtemp(join(this.#scratch, 'l'));
      try {
        // What an archive without an entry for its root means; tar changes it where there is one.
        await chmod(scratch, 0o755);
        const hash = createHash('sha256');
        const blob = wanted.digest === undefined ? wanted.blob() : hashed(wanted.blob(), hash);
        const { diffId, ...rest } = await unpackLayer(blob, scratch, this.#limits, signal);
        if (wanted.digest !== undefined && hash.digest('hex') !== wanted.digest) {
          throw damaged(`the layer sha256:${wanted.digest} has other content than its digest says`);
        }
        if (diffId !== wanted.diffId)
          throw damaged(`a layer unpacks to sha256:${diffId}, and the image config says sha256:${wanted.diffId}`);
        const layer: LayerRecord = { diffId, directory: this.#freeName(diffId), ...rest };
        this.#layers.set(diffId, layer);
        try {
          await rename(scratch, this.path(layer));
        } catch (error) {
          this.#layers.delete(diffId);
          throw error;
        }
        return true;
      } catch (error) {
        await removeTrees([scratch]);
        throw error;
      }
    });
  }

  /** Removes what no image and no import needs. What cannot be removed now is a leftover that the next start removes. */
  async collect(isNeeded: (diffId: string) => boolean): Promise<void> {
    const isIdle = (diffId: string): boolean => this.#layers.has(diffId) && !this.#pins.has(diffId) && !isNeeded(diffId);
    const graves: string[] = [];
    for (const layer of [...this.#layers.values()].filter(({ diffId }) => isIdle(diffId))) {
      // An import that wants the layer at this moment either has pinned it or finds it gone and its directory free.
      await this.#mutex.run(layer.diffId, async () => {
        if (!isIdle(layer.diffId)) return;
        this.#layers.delete(layer.diffId);
        // Only renamed: a full disk may have no room for a folder.
        const grave = join(this.#scratch, `d${randomUUID()}`);
        await rename(this.path(layer), grave);
        graves.push(grave);
      });
    }
    await removeTrees(graves);
  }

  #freeName(diffId: string): string {
    const used = new Set([...this.#layers.values()].map(({ directory }) => directory));
    let length = SHORT_NAME;
    while (used.has(diffId.slice(0, length))) length += LONGER_BY;
    return diffId.slice(0, length);
  }
}
