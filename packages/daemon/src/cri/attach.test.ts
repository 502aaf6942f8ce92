import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DaemonUnderTest, refused } from '../testing/daemon-under-test.ts';
import { BerthError } from '../util/errors.ts';

test('Attach is refused in the order of the validation table', async () => {
  await using host = await DaemonUnderTest.start();
  const { pod, container: plain } = await host.running('plain', { stdin: true });
  const { container: tty } = await host.running('tty', { tty: true, stdin: true });
  const created = await host.container(pod, 'created');
  const all = { stdin: true, stdout: true, stderr: true, tty: false };
  await assert.rejects(host.cri.attach({ ...all }), refused('INVALID_ARGUMENT', 'missing required container_id'));
  await assert.rejects(host.cri.attach({ ...all, containerId: 'f'.repeat(64) }), refused('NOT_FOUND', 'f'.repeat(64)));
  await assert.rejects(host.cri.attach({ ...all, containerId: pod }), refused('NOT_FOUND', pod));
  await assert.rejects(host.cri.attach({ ...all, containerId: created }), refused('FAILED_PRECONDITION', 'created'));
  // Of seventeen ids two begin with the same digit.
  const ids = await Promise.all(Array.from({ length: 17 }, async (_, i) => await host.container(pod, `one-of-many-${i}`)));
  const [shared = ''] = ids.map(([digit = '']) => digit).filter((digit, i, digits) => digits.indexOf(digit) !== i);
  await assert.rejects(
    host.cri.attach({ ...all, containerId: shared }),
    refused('INVALID_ARGUMENT', 'several containers', `"${shared}"`),
  );
  host.runtime.freeze(plain, '/cgroup/of/plain');
  await assert.rejects(
    host.cri.attach({ containerId: plain, tty: true }),
    refused('FAILED_PRECONDITION', 'paused', '/cgroup/of/plain', 'thaw'),
  );
  host.runtime.freeze(plain, undefined);
  await assert.rejects(host.cri.attach({ containerId: plain, tty: true, stderr: true }), refused('INVALID_ARGUMENT', 'tty'));
  await assert.rejects(host.cri.attach({ containerId: plain, tty: true }), refused('INVALID_ARGUMENT', 'no tty'));
  await assert.rejects(
    host.cri.attach({ containerId: plain }),
    refused('INVALID_ARGUMENT', 'one of stdin, stdout, and stderr must be set'),
  );
  await assert.rejects(host.cri.attach({ containerId: tty, tty: true, stderr: true }), refused('INVALID_ARGUMENT', 'one of stdin'));
  host.refuseAttach = new BerthError('resource-exhausted', 'TOO_MANY_TICKETS', 'too many attach tickets');
  await assert.rejects(host.cri.attach({ containerId: plain, stdout: true }), refused('RESOURCE_EXHAUSTED', 'too many'));
  host.refuseAttach = undefined;

  assert.equal((await host.cri.attach({ ...all, containerId: plain.slice(0, 13) })).url, 'http://127.0.0.1:0/attach/ticket-1');
  await host.cri.attach({ containerId: tty, stdin: true, stdout: true, stderr: true, tty: true });
  await host.cri.attach({ containerId: tty, stdout: true });
  assert.deepEqual(
    host.issued.map(({ target, streams }) => ({ id: target.id, shim: target.shim !== undefined, ...streams })),
    [
      { id: plain, shim: true, stdin: true, stdout: true, stderr: true, tty: false },
      { id: tty, shim: true, stdin: true, stdout: true, stderr: false, tty: true },
      { id: tty, shim: true, stdin: false, stdout: true, stderr: false, tty: true },
    ],
  );

  await host.runtime.exit(plain, 7);
  await host.cri.stopContainer({ containerId: plain, timeout: 5n });
  await assert.rejects(host.cri.attach({ ...all, containerId: plain }), refused('FAILED_PRECONDITION', 'exited', '7'));
  host.runtime.name = 'kata';
  const { container: other } = await host.running('other');
  await assert.rejects(
    host.cri.attach({ containerId: other }),
    refused('UNIMPLEMENTED', 'kata', 'only LCR containers can be attached'),
  );
});
