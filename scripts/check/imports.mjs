/**
 * Import directions: reads every import of the sources, holds them against the rules, and looks for cycles. Written here because
 * the tools for it read TypeScript by the compiler's old programming interface, which TypeScript 7 does not have.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { root } from '../setup/paths.mjs';
import { EXEMPT, RULES, TESTS } from './import-rules.mjs';

/** What the rules look at; a part that is not there yet is left out. */
const CODE = ['packages', 'test', 'bench', 'shim/test'];

/** `import ... from 'x'`, `export ... from 'x'`, `import 'x'`, `import('x')`; group 1 says that types only are meant. */
const IMPORT = /^(?:import|export)\s+(type\s)?(?:[^'"`;]*?\sfrom\s+)?['"]([^'"\n]+)['"]|\bimport\(\s*['"]([^'"\n]+)['"]\s*\)/gm;

/** @typedef {{ file: string, to: string, typeOnly: boolean }} Edge */

const manifests = new Map(
  packageFolders().map((folder) => [folder, JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'))]),
);
const folders = new Map([...manifests].map(([folder, manifest]) => [manifest.name, folder]));

const files = CODE.filter((path) => existsSync(join(root, path))).flatMap((path) => sources(path));
const edges = files.flatMap((file) => importsOf(file));
const problems = [...brokenRules(), ...missing(), ...undeclared(), ...cycles()];
for (const problem of problems) console.log(problem);
console.log(`${files.length} files, ${edges.length} imports, ${problems.length} problems`);
process.exit(problems.length === 0 && files.length > 0 ? 0 : 1);

function* brokenRules() {
  for (const { file, to } of edges) {
    for (const rule of RULES) {
      if (TESTS.test(file) || !rule.from.test(file) || !rule.to.test(to)) continue;
      if (rule.except?.test(to) === true || EXEMPT.get(rule.name)?.test(file) === true) continue;
      yield `${file} imports ${to}: ${rule.name}`;
    }
  }
}

function* missing() {
  for (const { file, to } of edges) {
    if (!/^(?:npm|node):/.test(to) && !existsSync(join(root, to))) yield `${file} imports ${to}: there is no such file`;
  }
}

/** Imports of packages that the importing package does not name in its package.json. */
function* undeclared() {
  for (const { file, to } of edges) {
    const folder = [...manifests.keys()].find((candidate) => file.startsWith(`${candidate}/`));
    if (folder === undefined) continue;
    const manifest = manifests.get(folder);
    const target = to.startsWith('npm:')
      ? to.slice(4)
      : manifests.get([...manifests.keys()].find((other) => to.startsWith(`${other}/`)) ?? '')?.name;
    if (target === undefined || target === manifest.name || to.startsWith('node:')) continue;
    const declared = {
      ...manifest.dependencies,
      ...manifest.optionalDependencies,
      ...(TESTS.test(file) ? manifest.devDependencies : {}),
    };
    if (!(target in declared)) yield `${file} imports ${target}, which ${folder}/package.json does not name`;
  }
}

/** Cycles of imports that exist when the program runs; types may refer to each other. */
function* cycles() {
  const graph = new Map(
    files.map((file) => [file, edges.filter((edge) => edge.file === file && !edge.typeOnly).map((edge) => edge.to)]),
  );
  const done = new Set();
  for (const start of files) {
    const found = findCycle(start, [], graph, done);
    if (found !== undefined) yield `cycle: ${found.join(' -> ')}`;
  }
}

/** @returns {string[] | undefined} */
function findCycle(file, path, graph, done) {
  if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
  if (done.has(file)) return undefined;
  for (const next of graph.get(file) ?? []) {
    const found = findCycle(next, [...path, file], graph, done);
    if (found !== undefined) return found;
  }
  done.add(file);
  return undefined;
}

/** @param {string} file @returns {Edge[]} */
function importsOf(file) {
  const text = readFileSync(join(root, file), 'utf8');
  return [...text.matchAll(IMPORT)].map((match) => ({
    file,
    to: target(file, match[2] ?? match[3] ?? ''),
    typeOnly: match[1] !== undefined,
  }));
}

/** @param {string} file @param {string} name as it stands in the import */
function target(file, name) {
  if (name.startsWith('.')) return relative(root, join(root, dirname(file), name));
  if (isBuiltin(name)) return name.startsWith('node:') ? name : `node:${name}`;
  const [first, second, ...rest] = name.split('/');
  const packageName = name.startsWith('@') ? `${first}/${second}` : first;
  const folder = folders.get(packageName);
  if (folder === undefined) return `npm:${packageName}`;
  const subpath = name === packageName ? '.' : `./${(name.startsWith('@') ? rest : [second, ...rest]).join('/')}`;
  const entry = manifests.get(folder).exports[subpath];
  return join(folder, entry?.source ?? entry?.default ?? 'no-such-export');
}

function sources(path) {
  return readdirSync(join(root, path), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts') && !entry.name.endsWith('.d.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .filter((file) => !/(?:^|\/)(?:node_modules|dist|gen)\//.test(file));
}

function packageFolders() {
  const packages = readdirSync(join(root, 'packages')).map((name) => `packages/${name}`);
  return [...packages, 'test', 'bench'].filter((folder) => existsSync(join(root, folder, 'package.json')));
}
