/** Mounts that the daemon itself makes and takes down below its state directory. */
import { lstat } from 'node:fs/promises';
import { dirname, relative } from 'node:path';
import type { Image } from '../image/image.ts';
import { unless } from '../util/errno.ts';
import { failed } from './refuse.ts';
import { must, type Run, run } from './spawn.ts';

/** mount(2) takes one page of options, with its NUL. */
const MAX_OPTION_BYTES = 4095;
/** A mount point may carry several mounts after a crash in between; more than this is not ours. */
const MAX_STACKED = 16;

/** True when something is mounted there. Sees every file system of its own; a bind mount of the parent's own does not count. */
export const isMountPoint = async (path: string): Promise<boolean> => {
  const [own, parent] = await Promise.all([
    unless(['ENOENT', 'ENOTDIR'], lstat(path)),
    unless(['ENOENT', 'ENOTDIR'], lstat(dirname(path))),
  ]);
  return own !== undefined && parent !== undefined && own.dev !== parent.dev;
};

/** Unmounts what is mounted on these paths, lazily: a process that still holds a file there keeps that file only. Idempotent. */
export const unmount = async (paths: readonly string[], by: Run = run): Promise<void> => {
  for (let round = 0; round < MAX_STACKED; round++) {
    const mounted = (await Promise.all(paths.map(async (path) => ((await isMountPoint(path)) ? [path] : [])))).flat();
    if (mounted.length === 0) return;
    await by('umount', ['-l', '-n', '--', ...mounted]);
  }
  throw failed(`${paths.join(', ')} cannot be unmounted`);
};

const escapeOption = (path: string): string => path.replace(/[\\,:]/g, (character) => `\\${character}`);

/** The directory that all layers are below, and their paths from there: short, to fit as many as possible into one page. */
export const shortLayers = (layers: readonly string[]): { readonly cwd: string; readonly lower: readonly string[] } => {
  let cwd = dirname(layers[0] ?? '/');
  while (!layers.every((layer) => layer.startsWith(cwd === '/' ? '/' : `${cwd}/`))) cwd = dirname(cwd);
  return { cwd, lower: layers.map((layer) => relative(cwd, layer)) };
};

/** Where a container's root file system is mounted, and what the container changes in it. */
export type OverlayPlace = { readonly upper: string; readonly work: string; readonly rootfs: string };

/** Mounts a container's root file system over the layers of its image. */
export const mountOverlay = async (shim: string, image: Image, { upper, work, rootfs }: OverlayPlace, by: Run): Promise<void> => {
  if (image.layers.length === 0) throw failed(`image ${image.id} has no layers`);
  const { cwd, lower } = shortLayers(image.layers);
  const options = `lowerdir=${lower.map(escapeOption).join(':')},upperdir=${escapeOption(upper)},workdir=${escapeOption(work)}`;
  if (Buffer.byteLength(options) > MAX_OPTION_BYTES)
    throw failed(`image ${image.id} has too many layers for one overlay mount (${image.layers.length})`);
  await must(shim, ['overlay', '--target', rootfs, '--data', options, '--cwd', cwd], {}, by);
};
