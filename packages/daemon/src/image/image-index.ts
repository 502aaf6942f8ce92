/** The one file that says which images and layers there are; what it does not name is a leftover. */
import { readFile } from 'node:fs/promises';
import * as v from 'valibot';
import { unless } from '../util/errno.ts';
import { BerthError } from '../util/errors.ts';
import { replaceFile } from './files.ts';
import type { Image, ImageRunConfig } from './image.ts';

export type LayerRecord = {
  /** 64 hex digits. */
  readonly diffId: string;
  /** Name of its directory: as short as is unique, since all of them must fit into the mount options of an overlay. */
  readonly directory: string;
  readonly opaque: boolean;
  readonly bytes: number;
  readonly inodes: number;
};

export type ImageRecord = {
  /** 64 hex digits. */
  readonly id: string;
  readonly names: readonly string[];
  /** 64 hex digits each, lowest first. */
  readonly diffIds: readonly string[];
  readonly run: ImageRunConfig;
};

const VERSION = 1;

const hex = v.pipe(v.string(), v.regex(/^[a-f0-9]{64}$/));
const strings = v.array(v.string());

const IndexSchema = v.object({
  version: v.literal(VERSION),
  layers: v.array(
    v.object({
      diffId: hex,
      directory: v.pipe(v.string(), v.regex(/^[a-f0-9]{8,64}$/)),
      opaque: v.boolean(),
      bytes: v.number(),
      inodes: v.number(),
    }),
  ),
  images: v.array(
    v.object({
      id: hex,
      names: strings,
      diffIds: v.array(hex),
      run: v.object({
        user: v.string(),
        env: strings,
        entrypoint: strings,
        cmd: strings,
        workingDir: v.string(),
        // Absent: written before they were read.
        volumes: v.optional(strings, []),
        stopSignal: v.string(),
        labels: v.record(v.string(), v.string()),
      }),
    }),
  ),
});

export type Index = { readonly layers: readonly LayerRecord[]; readonly images: readonly ImageRecord[] };

/** Reads the file; empty where there is none yet. Throws `IMAGE_INDEX_DAMAGED`: going on would take every image for a leftover. */
export async function readIndex(path: string): Promise<Index> {
  const text = await unless(['ENOENT'], readFile(path, 'utf8'));
  if (text === undefined) return { layers: [], images: [] };
  try {
    return v.parse(IndexSchema, JSON.parse(text));
  } catch (cause) {
    throw new BerthError(
      'internal',
      'IMAGE_INDEX_DAMAGED',
      `${path} cannot be read; move the directory that it is in out of the way and import the images again`,
      { cause },
    );
  }
}

export async function writeIndex(path: string, index: Index): Promise<void> {
  await replaceFile(path, `${JSON.stringify({ version: VERSION, ...index })}\n`);
}

/** Layers that overlayfs needs, topmost first: each once, and none below an opaque one. */
function visibleLayers(diffIds: readonly string[], layer: (diffId: string) => LayerRecord): LayerRecord[] {
  const visible: LayerRecord[] = [];
  // A layer that comes twice does lower down nothing that it does not do again above; the kernel refuses it a second time.
  for (const diffId of new Set(diffIds.toReversed())) {
    const record = layer(diffId);
    visible.push(record);
    if (record.opaque) break;
  }
  return visible;
}

/** The image as containers and the ImageService see it; `path` gives a layer's absolute directory. */
export function toImage(record: ImageRecord, layer: (diffId: string) => LayerRecord, path: (layer: LayerRecord) => string): Image {
  const all = [...new Set(record.diffIds)].map(layer);
  return {
    id: `sha256:${record.id}`,
    names: record.names,
    size: all.reduce((sum, { bytes }) => sum + bytes, 0),
    layers: visibleLayers(record.diffIds, layer).map(path),
    run: record.run,
  };
}
