/** Where things stand in the repository; every script takes them from here. */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Absolute path of the repository. */
export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** Everything made at set-up that is neither a package nor a build: the default image, stamps. */
export const cacheDir = join(root, '.cache');

/** The npm package that carries the project's Node for this machine. */
export const nodePackage = `node-linux-${process.arch}`;

/** Absolute path of the Node that the project runs on. */
export const projectNode = join(root, 'node_modules', nodePackage, 'bin', 'node');

/** The image that a daemon starts with. */
export const defaultImage = join(cacheDir, 'default-image.tar');

/** @returns {string | undefined} the version of Node that package.json asks for; undefined on a processor that has none */
export function pinnedNodeVersion() {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  return manifest.optionalDependencies?.[nodePackage];
}
