/**
 * Brings a fresh clone to where everything runs: Debian packages, npm packages, the project's Node, shim, TypeScript, default image.
 * Runs on Node 20 without any dependency, does only what is not done yet, and is over in a moment when nothing is missing.
 */
import { realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { buildDefaultImage, buildShim, buildTypeScript } from './setup/builds.mjs';
import { installDebianPackages } from './setup/debian.mjs';
import { checkHost } from './setup/host.mjs';
import { installNpmPackages } from './setup/npm.mjs';
import { orExplain } from './setup/say.mjs';

/** All of it; throws SetupError where a person has to act. */
export function setUp() {
  checkHost();
  installDebianPackages();
  installNpmPackages();
  buildShim();
  buildTypeScript();
  buildDefaultImage();
}

/** What only reading and checking the code takes: no root, no Debian packages. */
export function setUpTools() {
  installNpmPackages();
}

if (realpathSync(process.argv[1] ?? '') === fileURLToPath(import.meta.url)) await orExplain(async () => setUp());
