/** Whether a build is newer than its sources, told by content: a fresh checkout touches every time stamp and changes nothing. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { cacheDir, root } from './paths.mjs';

/** Folders that hold results, not sources. */
const RESULTS = new Set(['node_modules', 'dist', 'build', '.cache']);

/**
 * Runs `build` unless it has run for exactly these sources and its results are still there.
 * @param {string} name of the stamp
 * @param {{ sources: readonly string[], filter?: (path: string) => boolean, results: readonly string[] }} what paths below the root;
 *   folders are walked
 * @param {() => void} build
 */
export function unlessBuilt(name, what, build) {
  const hash = createHash('sha256');
  for (const file of what.sources.flatMap((source) => walk(join(root, source))).sort()) {
    if (what.filter?.(file) === false) continue;
    const content = readFileSync(file);
    hash.update(`${relative(root, file)}\0${content.length}\0`).update(content);
  }
  const digest = hash.digest('hex');
  const stamp = join(cacheDir, `${name}.stamp`);
  const complete = what.results.every((result) => existsSync(join(root, result)));
  if (complete && existsSync(stamp) && readFileSync(stamp, 'utf8') === digest) return;
  build();
  mkdirSync(cacheDir, { recursive: true });
  writeFileSync(stamp, digest);
}

/** @param {string} path @returns {string[]} the files at or below it; none when it does not exist */
function walk(path) {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return [];
  if (!stat.isDirectory()) return [path];
  return readdirSync(path).flatMap((name) => (RESULTS.has(name) ? [] : walk(join(path, name))));
}
