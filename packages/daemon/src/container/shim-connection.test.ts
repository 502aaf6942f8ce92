import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../util/log.ts';
import { WELCOME, FakeShim } from '../testing/fake-shim.ts';
import { type Shim, ShimLost } from '../stdio/shim.ts';
import { Container } from './container.ts';
import type { ConnectShim, ContainerDeps } from './deps.ts';
import { followShim } from './shim-connection.ts';
import { initialStatus } from './status.ts';

/** Above every moment that the tests wait for, below their patience. */
const LONG_MS = 60_000;
const NO_PATIENCE_MS = 0;

const nobody = (): never => {
  throw new ShimLost('nobody', { cause: Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }) });
};
const silence = (): never => {
  throw new ShimLost('no answer');
};
const init = (initPid: number): FakeShim => new FakeShim({ ...WELCOME, initPid }, { signal: () => {}, left: () => {} });

/** A container that was starting when its daemon died, and a shim that meets one connection after the other like this; the last for ever. */
function late(...attempts: readonly (() => Shim)[]): {
  readonly deps: ContainerDeps;
  readonly container: Container;
  tried: number;
} {
  const connectShim: ConnectShim = async () => (attempts[late_.tried++] ?? attempts.at(-1) ?? nobody)();
  const deps = { root: '/nowhere', state: '/nowhere', connectShim, log: silentLog, closing: new AbortController().signal };
  const meta = { spec: { id: 'c'.repeat(64), secret: '' }, name: '', runtime: '', createdAtNs: 0n };
  const records = { write: async () => {} };
  const status = { ...initialStatus(''), state: 'starting' as const };
  const late_ = {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what following a shim takes of them
    deps: deps as unknown as ContainerDeps,
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the same
    container: new Container(meta as never, status, records as never),
    tried: 0,
  };
  return late_;
}

test('a shim that is there and does not answer yet has the time of a start, not that of one that is not there', async () => {
  const { deps, container } = late(silence, silence, silence, () => init(7));
  assert.equal(await followShim(deps, container, NO_PATIENCE_MS, LONG_MS), true);
  assert.deepEqual([container.status.state, container.status.pid], ['running', 7]);
});

test('a shim of before that answers without an init is let go and asked again; nothing is noted', async () => {
  const early = init(0);
  const { deps, container } = late(
    () => early,
    () => init(7),
  );
  assert.equal(await followShim(deps, container, NO_PATIENCE_MS, LONG_MS), true);
  assert.deepEqual([early.closed, container.status.pid], [true, 7]);
  const never = late(() => init(0));
  assert.equal(await followShim(never.deps, never.container, NO_PATIENCE_MS), false);
  assert.deepEqual([never.container.status.state, never.container.status.pid], ['starting', undefined]);
});

test('a shim that has been there and is gone is not waited for; one that has not come yet is, for its time', async () => {
  const gone = late(silence, nobody);
  assert.equal(await followShim(gone.deps, gone.container, LONG_MS, LONG_MS), false);
  assert.equal(gone.tried, 2);
  const coming = late(nobody, nobody, () => init(7));
  assert.equal(await followShim(coming.deps, coming.container, LONG_MS), true);
  const absent = late(nobody);
  assert.equal(await followShim(absent.deps, absent.container, NO_PATIENCE_MS, LONG_MS), false);
});
