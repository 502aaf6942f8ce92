import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { exitRecord } from '../testing/exit-record.ts';
import { FakeShim, WELCOME } from '../testing/fake-shim.ts';
import { BerthError } from '../util/errors.ts';
import { AttachService, type AttachTarget } from './attach-service.ts';

const STREAMS = { stdin: false, stdout: true, stderr: true, tty: false };
const CONFIG = {
  ringBytes: 65_536,
  liveBufferBytes: 262_144,
  maxLagBytes: 1_048_576,
  slow: 'block',
  stallMs: 10_000,
  exitCodeStatus: false,
} as const;

const target = (shim?: FakeShim): AttachTarget => ({
  id: 'c1',
  tty: false,
  stdin: false,
  stdinOnce: false,
  ...(shim === undefined ? {} : { shim }),
});

/** A shim with which nothing can be begun any more. */
const deaf = (): FakeShim => new FakeShim(WELCOME, { signal: () => {}, left: () => {} });

async function refusal(of: AttachTarget): Promise<[string, string, string]> {
  const service = new AttachService(() => of, CONFIG, pino({ level: 'silent' }));
  const error: unknown = await service.prepare(of, STREAMS).then(
    () => undefined,
    (why: unknown) => why,
  );
  assert.ok(error instanceof BerthError, String(error));
  return [error.kind, error.code, error.message];
}

test('a container that ends while its output is asked for is said to have exited, as by every other call', async () => {
  const shim = deaf();
  shim.tellExit(exitRecord(3));
  assert.deepEqual(await refusal(target(shim)), [
    'failed-precondition',
    'CONTAINER_NOT_RUNNING',
    'container c1 is not running: exited with code 3',
  ]);
});

test('a supervisor that is gone or not connected is what is said, not that the container has ended', async () => {
  const gone = ['unavailable', 'SHIM_LOST', 'container c1 cannot be attached: its supervisor is gone'];
  assert.deepEqual(await refusal(target(deaf())), gone);
  assert.deepEqual(await refusal(target()), gone);
});
