/** Rare faults of the host, made with a build of the shim in which chosen calls fail (faults.c). */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { Container, SKIP, until } from './support/container.ts';

const options = { skip: SKIP };
const ECHILD = 10;
const ENFILE = 23;
/** STATUS_SYSTEM of shim.h. */
const SYSTEM = 4;
const SIGKILL = 9;

before(() => {
  if (SKIP === false) execFileSync('make', ['-s', '-C', join(import.meta.dirname, '..'), 'faults']);
});

const nothingLeft = (container: Container): Promise<void> =>
  until(() => container.leftovers().length === 0, `nothing left, but ${container.leftovers().join(' ')}`);

/** Starts a container, gives how a program besides init fails in it, and ends it. */
async function failure(fault: string, ...more: string[]): Promise<{ step: number; errno: number }> {
  await using container = new Container({ args: ['sleep', '1000'], log: false, fault });
  const init = await container.attach();
  const failed = await container.tryExec(['sleep', '1000'], ...more).failure();
  await init.signal(SIGKILL);
  await init.exit();
  await init.leave();
  await nothingLeft(container);
  return failed;
}

for (const call of ['epoll', 'signalfd', 'pidfd']) {
  test(`the host has no descriptor left (${call}): the start fails and says so`, options, async () => {
    await using container = new Container({ args: ['sleep', '1000'], fault: `berth-shim ${call}` });
    const started = await container.start();
    assert.equal(started.kind, 'system', started.line);
    assert.match(started.text, /too many open files/i);
    assert.equal(existsSync(container.record), false);
    await nothingLeft(container);
  });

  test(`the host has no descriptor left (${call}): a program besides init is refused`, options, async () => {
    assert.deepEqual(await failure(`berth-exec ${call}`), { step: SYSTEM, errno: ENFILE });
  });
}

test(
  'a program that was killed before its terminal was there: nothing is killed by a number that is free again',
  options,
  async () => {
    assert.deepEqual(await failure('berth-exec killed', 'tty=1'), { step: SYSTEM, errno: ECHILD });
  },
);

test('a profile whose name begins with "unconfined" is not left out', options, async () => {
  // The profile does not exist, nor may AppArmor: the program must not run without it.
  assert.equal((await failure('berth-exec profile')).step, SYSTEM);
  await using container = new Container({ args: ['sleep', '1000'], log: false, fault: 'berth-exec no-profile' });
  const init = await container.attach();
  const peer = await container.exec(['true']);
  peer.subscribe(0);
  assert.equal((await peer.exit()).code, 0);
  await init.signal(SIGKILL);
});
