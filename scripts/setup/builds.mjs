/** What set-up builds: the shim, the TypeScript packages, the default image. */
import { copyFileSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { cacheDir, defaultImage, projectNode, root } from './paths.mjs';
import { must } from './run.mjs';
import { say } from './say.mjs';
import { unlessBuilt } from './stamp.mjs';

/** Packages in the order in which they depend on each other; those without an entry build nothing. */
const PACKAGES = ['attach-protocol', 'client', 'cli', 'daemon'];

/** berth-shim, into shim/build/. */
export function buildShim() {
  const filter = (path) => !path.endsWith('.ts') && !path.endsWith('.md');
  unlessBuilt('shim', { sources: ['shim'], filter, results: ['shim/build/berth-shim', 'shim/build/berth-seccomp'] }, () => {
    say('building the shim');
    must('make -C shim', 'make', ['-s', '-C', 'shim']);
  });
}

/** packages/X/dist for every package. */
export function buildTypeScript() {
  const sources = [
    ...PACKAGES.flatMap((name) => [`packages/${name}/src`, `packages/${name}/package.json`]),
    'packages/cri-api/gen',
    'tsconfig.base.json',
    'tsconfig.build.json',
  ];
  const results = PACKAGES.map((name) => `packages/${name}/dist`);
  unlessBuilt('typescript', { sources, filter: (path) => !path.endsWith('.test.ts'), results }, () => {
    say('building TypeScript');
    for (const name of PACKAGES) rmSync(join(root, 'packages', name, 'dist'), { recursive: true, force: true });
    must('tsc', projectNode, [join(root, 'node_modules/typescript/bin/tsc'), '-b', 'tsconfig.build.json']);
    for (const name of PACKAGES) copyData(name);
  });
}

/** The compiler copies code only; data files that code reads beside itself go along here. @param {string} name */
function copyData(name) {
  const from = join(root, 'packages', name, 'src');
  for (const entry of readdirSync(from, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || entry.name.endsWith('.ts') || /golden|testdata|fixtures/.test(entry.parentPath)) continue;
    const file = join(entry.parentPath ?? entry.path, entry.name);
    const target = join(root, 'packages', name, 'dist', relative(from, file));
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(file, target);
  }
}

/** The image that every daemon starts with, made of the distribution's static busybox. */
export function buildDefaultImage() {
  unlessBuilt('default-image', { sources: ['scripts/default-image.mjs'], results: [relative(root, defaultImage)] }, () => {
    say('making the default image');
    mkdirSync(cacheDir, { recursive: true });
    must('making the default image', process.execPath, [join(root, 'scripts/default-image.mjs'), defaultImage]);
  });
}
