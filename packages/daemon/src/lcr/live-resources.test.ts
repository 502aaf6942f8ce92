/** Limits of a running container as files: all or none; pod.lxc.test.ts has the real cgroups of the machine it runs on. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, test } from 'node:test';
import { BerthError } from '../util/errors.ts';
import type { HostFacts } from './host-facts.ts';
import { V1 } from './host-facts-samples.ts';
import { writeLive } from './live-resources.ts';
import type { CgroupSetting } from './resources.ts';

let top = '';
let facts: HostFacts;
beforeEach(() => {
  top = mkdtempSync(`${tmpdir()}/berth-limits-`);
  const hierarchies = ['cpu', 'memory'].map((name) => {
    mkdirSync(`${top}/${name}/pod/c`, { recursive: true });
    return { version: 1 as const, controllers: [name], base: `${top}/${name}`, daemonElsewhere: false };
  });
  facts = { ...V1, cgroups: { limits: 'v1', hierarchies } };
});
afterEach(() => rmSync(top, { recursive: true }));

/** Values are of one length: a cgroup's file is written as a whole, a plain one from its beginning. */
const shares: CgroupSetting = { controller: 'cpu', file: 'cpu.shares', value: '0512' };
const quota: CgroupSetting = { controller: 'cpu', file: 'cpu.cfs_quota_us', value: '5000' };
const memory: CgroupSetting = { controller: 'memory', file: 'memory.limit_in_bytes', value: '4096' };
const at = ({ controller, file }: CgroupSetting): string => `${top}/${controller}/pod/c/${file}`;
const content = (setting: CgroupSetting): string => readFileSync(at(setting), 'utf8');
const refuse = (setting: CgroupSetting): void => mkdirSync(at(setting));
const refused = (text: RegExp) => (error: unknown) => {
  assert.ok(error instanceof BerthError, String(error));
  assert.equal(error.code, 'HOST_CANNOT');
  assert.match(error.message, text);
  return true;
};

test('all are written; without a cgroup none, and that is no error', async () => {
  for (const setting of [shares, quota, memory]) writeFileSync(at(setting), '1024\n');
  await writeLive(facts, 'pod/c', [shares, quota, memory]);
  assert.deepEqual([shares, quota, memory].map(content), ['0512\n', '5000\n', '4096\n']);
  await writeLive(facts, 'pod/other', [shares]);
});

test('one is refused: the others have their old values again, and only they are touched', async () => {
  for (const setting of [shares, quota]) writeFileSync(at(setting), '1024\n');
  refuse(memory);
  await assert.rejects(
    writeLive(facts, 'pod/c', [shares, memory, quota]),
    refused(/does not take memory\.limit_in_bytes = 4096: EISDIR$/),
  );
  assert.deepEqual([shares, quota].map(content), ['1024\n', '1024\n']);
});

test('what cannot be set back is named', async () => {
  writeFileSync(at(quota), '1024\n');
  // Takes a write and cannot be read, as memory.reclaim of cgroup v2. It resets the marks of pages of this process.
  symlinkSync('/proc/self/clear_refs', at(shares));
  refuse(memory);
  await assert.rejects(
    writeLive(facts, 'pod/c', [{ ...shares, value: '1' }, quota, memory]),
    refused(/EISDIR; changed already, and not to be set back: cpu\.shares$/),
  );
  assert.equal(content(quota), '1024\n');
});
