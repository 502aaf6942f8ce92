import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DaemonUnderTest, refused } from '../testing/daemon-under-test.ts';
import { BerthError } from '../util/errors.ts';

test('PortForward is refused in order, and else gives the URL of a ticket for the pod', async () => {
  await using host = await DaemonUnderTest.start();
  const pod = await host.pod();
  const stopped = await host.pod('stopped');
  await host.cri.stopPodSandbox({ podSandboxId: stopped });
  const ask = (podSandboxId: string, port: number[] = []) => host.cri.portForward({ podSandboxId, port });

  await assert.rejects(ask('', [0]), refused('INVALID_ARGUMENT', 'missing required pod_sandbox_id'));
  await assert.rejects(ask('f'.repeat(64), [0]), refused('NOT_FOUND', 'f'.repeat(64)));
  await assert.rejects(ask(stopped, [0]), refused('FAILED_PRECONDITION', stopped, 'not ready'));
  for (const port of [0, -1, 65_536, 2 ** 31 - 1])
    await assert.rejects(ask(pod, [80, port]), refused('INVALID_ARGUMENT', `port ${port}`));
  await assert.rejects(ask(pod, Array<number>(129).fill(80)), refused('INVALID_ARGUMENT', '129 ports', '128'));
  host.refuseAttach = new BerthError('resource-exhausted', 'TOO_MANY_TICKETS', 'too many tickets');
  await assert.rejects(ask(pod, [80]), refused('RESOURCE_EXHAUSTED', 'too many'));
  host.refuseAttach = undefined;

  assert.equal((await ask(pod, [80, 65_535])).url, 'http://127.0.0.1:0/portforward/ticket-1');
  await ask(pod.slice(0, 13));
  assert.deepEqual(host.forwards, [
    { pod, ports: [80, 65_535] },
    { pod, ports: [] },
  ]);
  await host.cri.removePodSandbox({ podSandboxId: pod });
  await assert.rejects(ask(pod), refused('NOT_FOUND', pod));
});
