/** Holds the error codes that the daemon's sources use against docs/errors.md: each documented, with its status, and none forgotten there. */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../setup/paths.mjs';

const USED =
  /'(invalid-argument|not-found|already-exists|failed-precondition|resource-exhausted|unimplemented|deadline-exceeded|unavailable|internal)',\s*'([A-Z][A-Z0-9_]+)'/g;
const DOCUMENTED = /^\| `([A-Z][A-Z0-9_]+)` \| ([A-Z_, ]+) \|/gm;
/** What stands for every error that has no code. */
const ALWAYS = 'INTERNAL';

/** @type {Map<string, Set<string>>} */
const used = new Map();
for (const file of globSync('packages/daemon/src/**/*.ts', { cwd: root }).filter(
  (path) => !/\.test\.ts$|\/testing\/|\/fake-/.test(path),
)) {
  for (const [, kind = '', code = ''] of readFileSync(join(root, file), 'utf8').matchAll(USED)) {
    used.set(code, (used.get(code) ?? new Set()).add(kind.toUpperCase().replaceAll('-', '_')));
  }
}
const documented = new Map(
  [...readFileSync(join(root, 'docs/errors.md'), 'utf8').matchAll(DOCUMENTED)].map(([, code = '', status = '']) => [code, status]),
);

const problems = [];
for (const [code, kinds] of used) {
  const expected = [...kinds].toSorted().join(', ');
  if (documented.get(code) !== expected)
    problems.push(`docs/errors.md: ${code} should be there with ${expected}; it has ${documented.get(code) ?? 'nothing'}`);
}
for (const code of documented.keys())
  if (code !== ALWAYS && !used.has(code)) problems.push(`docs/errors.md: ${code} is not used any more`);
for (const problem of problems) console.log(problem);
console.log(`${used.size} error codes, ${problems.length} problems`);
process.exit(problems.length === 0 && used.size > 0 ? 0 : 1);
