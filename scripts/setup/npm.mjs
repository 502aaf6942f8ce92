/** The npm dependencies, and among them the Node that the project runs on. */
import { accessSync, constants, existsSync, readFileSync, realpathSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { nodePackage, pinnedNodeVersion, projectNode, root } from './paths.mjs';
import { attempt, must } from './run.mjs';
import { SetupError, say } from './say.mjs';

/** What a settings file of the user's (`omit=optional`, `production`, `engine-strict`) must not change here. */
const NPM_OPTIONS = [
  '--include=optional',
  '--include=dev',
  '--include=peer',
  '--engine-strict=false',
  '--ignore-scripts',
  '--no-audit',
  '--no-fund',
  '--loglevel=error',
];

/**
 * Installs what the lock file says, if what is installed differs, and makes sure of the project's Node. `npm install --no-save`
 * rather than `npm ci`: it takes the same versions and checks the same hashes, but does not insist on the tools' packages for
 * other systems, which a registry mirror may not carry, and does not pull a running node_modules from under its users.
 */
export function installNpmPackages() {
  if (!matchesLock()) {
    say('installing npm packages (about a minute the first time)');
    must('npm install', ...npm(['install', '--no-save', ...NPM_OPTIONS]), { env: cleanEnv() });
    if (!matchesLock())
      throw new SetupError('npm installed other versions than package-lock.json names; remove node_modules and try again.');
  }
  const wanted = `v${pinnedNodeVersion()}`;
  if (projectNodeVersion() === wanted) return;
  say(`installing Node ${wanted} (${nodePackage})`);
  attempt(...npm(['install', '--no-save', '--no-package-lock', ...NPM_OPTIONS, `${nodePackage}@${pinnedNodeVersion()}`]), {
    env: cleanEnv(),
  });
  const found = projectNodeVersion();
  if (found !== wanted) {
    throw new SetupError(
      `${projectNode} should be Node ${wanted} but ${found === '' ? 'does not run' : `is ${found}`}. ` +
        'npm may be told to leave optional packages out (see `npm config get omit`); remove node_modules and try again.',
    );
  }
}

/** @returns {string} what the project's Node says of itself; empty when it is not there or does not run */
function projectNodeVersion() {
  if (!existsSync(projectNode)) return '';
  const result = attempt(projectNode, ['--version']);
  return result.ok ? result.output.trim() : '';
}

/**
 * Compares npm's own note of what it has installed with the lock file: true also after somebody's own `npm ci`, false after
 * `omit=optional` or a lock file that has changed.
 */
function matchesLock() {
  const installed = readPackages(join(root, 'node_modules', '.package-lock.json'));
  if (installed === undefined) return false;
  const locked = readPackages(join(root, 'package-lock.json'));
  if (locked === undefined) throw new SetupError('package-lock.json is missing or damaged: restore it from git.');
  return Object.entries(locked).every(([path, entry]) => {
    if (!path.includes('node_modules/')) return true;
    const there = installed[path];
    if (there === undefined) return (entry.optional || entry.peer) && !meantForThisMachine(entry);
    return entry.link === true || there.version === entry.version;
  });
}

/** Optional packages that name neither system nor processor belong to one that does; its absence decides. */
function meantForThisMachine(entry) {
  const names = (field, value) => field !== undefined && [field].flat().includes(value);
  if (entry.os === undefined || entry.cpu === undefined) return false;
  const libc = entry.libc === undefined || names(entry.libc, existsSync('/etc/alpine-release') ? 'musl' : 'glibc');
  return names(entry.os, process.platform) && names(entry.cpu, process.arch) && libc;
}

/** @param {string} file @returns {Record<string, any> | undefined} */
function readPackages(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages;
  } catch {
    return undefined;
  }
}

/**
 * npm's command line, run by a Node outside node_modules, since npm is about to replace what is inside.
 * @param {string[]} args
 * @returns {[string, string[]]}
 */
function npm(args) {
  const cli = process.env['npm_execpath'];
  if (cli?.endsWith('.js') === true && existsSync(cli)) return [outsideNode(), [cli, ...args]];
  return ['npm', args];
}

/** @returns {string} the first Node on PATH that is not the project's own */
function outsideNode() {
  for (const dir of searchPath()) {
    const candidate = join(dir, 'node');
    try {
      accessSync(candidate, constants.X_OK);
      if (!realpathSync(candidate).startsWith(`${root}/`)) return candidate;
    } catch {
      // Not there: look on.
    }
  }
  return process.execPath;
}

function searchPath() {
  return (process.env['PATH'] ?? '').split(delimiter).filter((dir) => dir !== '' && !dir.startsWith(root));
}

/** The environment without what `npm run` has put there about this very run: a nested npm would take it for settings. */
function cleanEnv() {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) =>
        !/^npm_(lifecycle|package|command|config_(omit|production|workspace|global|engine_strict|ignore_scripts|dry_run|only))/i.test(
          name,
        ),
    ),
  );
  delete env['NODE_ENV'];
  delete env['INIT_CWD'];
  env['PATH'] = searchPath().join(delimiter);
  return env;
}
