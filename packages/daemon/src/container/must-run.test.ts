import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeShim, WELCOME } from '../testing/fake-shim.ts';
import { BerthError } from '../util/errors.ts';
import { mustRun, shimOfRunning } from './must-run.ts';
import type { ContainerStatus } from './status.ts';

const ID = 'c'.repeat(64);

const status = (more: Partial<ContainerStatus>): ContainerStatus => ({
  state: 'running',
  removing: false,
  bootId: '',
  stopSignal: 15,
  user: { uid: 0, gid: 0, groups: [] },
  ...more,
});
const exit = {
  kind: 'exited',
  code: 3,
  signal: 0,
  oom: false,
  finishedAtNs: 1n,
  reason: 'Error',
  message: '',
} as const;

const says = (kind: string, code: string, message: string) => (error: unknown) => {
  assert.ok(error instanceof BerthError);
  assert.deepEqual([error.kind, error.code, error.message], [kind, code, message]);
  return true;
};

test('what needs a running container says in one sentence what the container does instead', () => {
  const shim = new FakeShim(WELCOME, { signal: () => {}, left: () => {} });
  mustRun({ id: ID, status: status({}) });
  for (const [is, words] of [
    [status({ state: 'created' }), 'created'],
    [status({ state: 'exited', exit }), 'exited with code 3'],
    [status({ state: 'unknown' }), 'unknown'],
  ] as const) {
    const refusal = says('failed-precondition', 'CONTAINER_NOT_RUNNING', `container ${ID} is not running: ${words}`);
    assert.throws(() => mustRun({ id: ID, status: is }), refusal);
    assert.throws(() => shimOfRunning({ id: ID, status: is, shim: () => shim }), refusal);
  }
});

test('a running container whose shim is not connected is not said to be stopped', () => {
  const shim = new FakeShim(WELCOME, { signal: () => {}, left: () => {} });
  assert.equal(shimOfRunning({ id: ID, status: status({}), shim: () => shim }), shim);
  assert.throws(
    () => shimOfRunning({ id: ID, status: status({}), shim: () => undefined }),
    says('unavailable', 'SHIM_LOST', `the supervisor of container ${ID} does not answer; try again`),
  );
});
