// Settings as the documentation names them.
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { settingsSchema } from './schema.ts';

const ROOT = fileURLToPath(new URL('../../../..', import.meta.url));

/** `stdio.ring_bytes`, and `root` for those without a section. */
const keys = Object.entries(settingsSchema.entries).flatMap(([name, { wrapped }]) =>
  'entries' in wrapped ? Object.keys(wrapped.entries).map((key) => `${name}.${key}`) : [name],
);
const sections = new Set(keys.filter((key) => key.includes('.')).map((key) => key.replace(/\..*/, '')));

test('every setting that a page or a comment names is one, and every one is in docs/configuration.md', () => {
  assert.ok(keys.includes('stdio.stall_ms') && sections.has('port_forward'));
  const named = new RegExp(`\`((?:${[...sections].join('|')}|portForward)\\.[A-Za-z_]+)(?=[\` =])`, 'g');
  const files = globSync(['README.md', 'docs/**/*.md', 'bench/*.md', 'shim/*.md', 'packages/*/src/**/*.ts'], { cwd: ROOT });
  let count = 0;
  for (const file of files) {
    for (const [, name = ''] of readFileSync(`${ROOT}/${file}`, 'utf8').matchAll(named)) {
      assert.ok(keys.includes(name), `${file}: ${name} is no setting`);
      count += 1;
    }
  }
  assert.ok(count > 50, `${count} are named`);
  const page = readFileSync(`${ROOT}/docs/configuration.md`, 'utf8');
  for (const key of keys) assert.ok(page.includes(`\`${key}\``), `${key} is not in docs/configuration.md`);
});
