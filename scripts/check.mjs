/** `npm run check`: types, lint, format, import directions, unused code. All of them run; the status says whether any complained. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { projectNode, root } from './setup/paths.mjs';
import { orExplain } from './setup/say.mjs';
import { setUpTools } from './setup.mjs';

/** @type {readonly { name: string, entry: string, args: readonly string[] }[]} */
const TOOLS = [
  { name: 'types', entry: 'node_modules/typescript/bin/tsc', args: ['-p', '.'] },
  { name: 'lint', entry: 'node_modules/oxlint/bin/oxlint', args: ['--type-aware', '--deny-warnings'] },
  { name: 'format', entry: 'node_modules/@biomejs/biome/bin/biome', args: ['format', '--max-diagnostics=50'] },
  { name: 'imports', entry: 'scripts/check/imports.mjs', args: [] },
  { name: 'errors', entry: 'scripts/check/error-codes.mjs', args: [] },
  { name: 'unused', entry: 'node_modules/knip/bin/knip.js', args: ['--no-progress', '--no-config-hints'] },
];

await orExplain(async () => setUpTools());

// The tools' own start scripts look for `node` on the path; it must be the project's.
const env = {
  ...process.env,
  PATH: `${join(projectNode, '..')}:${process.env['PATH']}`,
  FORCE_COLOR: process.stdout.isTTY ? '1' : '0',
};
const only = process.argv.slice(2);
const failed = [];
for (const { name, entry, args } of TOOLS.filter((tool) => only.length === 0 || only.includes(tool.name))) {
  const start = performance.now();
  const result = spawnSync(projectNode, [join(root, entry), ...args], { cwd: root, env, stdio: 'inherit' });
  const passed = result.status === 0;
  if (!passed) failed.push(name);
  console.log(`check ${name}: ${passed ? 'ok' : 'FAILED'} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
}
if (failed.length > 0) console.log(`failed: ${failed.join(', ')}`);
process.exit(failed.length === 0 ? 0 : 1);
