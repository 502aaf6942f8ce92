/** The suites of `npm test`, in order: what is quick and points closest to a fault comes first. */
import { globSync } from 'node:fs';
import { root } from '../setup/paths.mjs';

/**
 * `jobs` is how many files run at once: unit tests take what two processors give; tests with real containers measure times and
 * clean up after daemons, so they run one after the other.
 * @typedef {{ name: string, files: string[], jobs: number, onRequest?: boolean }} Suite
 */

/** Files of a package's unit tests that make real containers or mounts. */
const REAL = /\.(?:lxc|real)\.test\.ts$|^packages\/daemon\/src\/lcr\//;

/** @returns {Suite[]} */
export function suites() {
  const find = (pattern) => globSync(pattern, { cwd: root, exclude: (path) => /node_modules|dist/.test(path) }).sort();
  const packages = find('packages/*/src/**/*.test.ts');
  return [
    {
      name: 'unit',
      files: [...packages.filter((file) => !REAL.test(file)), ...find('bench/src/**/*.test.ts'), ...find('test/src/**/*.test.ts')],
      jobs: 2,
    },
    { name: 'shim', files: find('shim/test/**/*.test.ts'), jobs: 1 },
    { name: 'lcr', files: packages.filter((file) => REAL.test(file)), jobs: 1 },
    { name: 'system', files: find('test/system/**/*.test.ts'), jobs: 1 },
    // Needs real clients, which are brought; by name only. Two at once: the first of them waits for slow readers for five minutes.
    { name: 'interop', files: find('test/interop/**/*.test.ts'), jobs: 2, onRequest: true },
  ];
}
