/** What freezers say, as files: v1, v2, neither; test/system/frozen.test.ts has the real one of the machine it runs on. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { after, test } from 'node:test';
import type { CgroupLayout } from './cgroups.ts';
import { frozenCgroup } from './frozen.ts';

const top = mkdtempSync(`${tmpdir()}/berth-frozen-`);
after(() => rmSync(top, { recursive: true }));

const hierarchy = (name: string, version: 1 | 2, controllers: readonly string[]) => {
  mkdirSync(`${top}/${name}/pod/c`, { recursive: true });
  return { version, controllers, base: `${top}/${name}`, daemonElsewhere: false };
};
const freezer = hierarchy('freezer', 1, ['freezer']);
const unified = hierarchy('unified', 2, []);
const memory = hierarchy('memory', 1, ['memory']);
const V1: CgroupLayout = { limits: 'v1', hierarchies: [memory, freezer] };
const V2: CgroupLayout = { limits: 'v2', hierarchies: [unified] };
const HYBRID: CgroupLayout = { limits: 'v1', hierarchies: [memory, freezer, unified] };

const v1 = (text: string): void => writeFileSync(`${top}/freezer/pod/c/freezer.state`, text);
const v2 = (text: string): void => writeFileSync(`${top}/unified/pod/c/cgroup.events`, text);

test('v1: frozen, and on the way there', async () => {
  for (const [text, expected] of [
    ['THAWED\n', undefined],
    ['FREEZING\n', `${top}/freezer/pod/c`],
    ['FROZEN\n', `${top}/freezer/pod/c`],
  ] as const) {
    v1(text);
    assert.equal(frozenCgroup(V1, 'pod/c'), expected, text);
  }
});

test('v2', async () => {
  for (const [text, expected] of [
    ['populated 1\nfrozen 0\n', undefined],
    ['populated 1\nfrozen 1\n', `${top}/unified/pod/c`],
    // Of kernels before 5.2.
    ['populated 1\n', undefined],
  ] as const) {
    v2(text);
    assert.equal(frozenCgroup(V2, 'pod/c'), expected, text);
  }
});

test('where both can freeze, either does', async () => {
  v1('THAWED\n');
  v2('populated 1\nfrozen 0\n');
  assert.equal(frozenCgroup(HYBRID, 'pod/c'), undefined);
  v2('populated 1\nfrozen 1\n');
  assert.equal(frozenCgroup(HYBRID, 'pod/c'), `${top}/unified/pod/c`);
  v1('FROZEN\n');
  v2('populated 1\nfrozen 0\n');
  assert.equal(frozenCgroup(HYBRID, 'pod/c'), `${top}/freezer/pod/c`);
});

test('a cgroup that is gone, and a host without a freezer', async () => {
  v1('FROZEN\n');
  assert.equal(frozenCgroup(HYBRID, 'pod/gone'), undefined);
  assert.equal(frozenCgroup({ limits: 'v1', hierarchies: [memory] }, 'pod/c'), undefined);
});
