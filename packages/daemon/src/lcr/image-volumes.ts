/** The `VOLUME`s of an image: directories that its programs expect, whether its layers have them or not. */
import type { Mount } from '@berth/cri-api';
import { type ContainerTree, isAtOrBelow, normalise } from './resolve.ts';

/**
 * Makes those that are missing, in the container's own writable layer, where they live and end with the container. Before the request's
 * mounts are in the tree, so that nothing is made in a volume of the host; what such a mount covers is its own.
 * @throws BerthError naming the image where its files are in the way
 */
export const makeImageVolumes = async (
  volumes: readonly string[],
  mounts: readonly Mount[],
  tree: ContainerTree,
): Promise<void> => {
  const covers = mounts.map(({ containerPath }) => normalise(containerPath));
  for (const path of volumes.map(normalise))
    if (!covers.some((cover) => isAtOrBelow(path, cover))) await tree.resolve('image', path, 'directory');
};
