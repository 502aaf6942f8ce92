/** Real pods and containers whose helper, the process that forks for the daemon, is killed while they are made. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BerthError } from '../util/errors.ts';
import { silentLog } from '../util/log.ts';
import { createLcrRuntime } from './lcr-runtime.ts';
import { LxcFixture } from './lxc-fixture.ts';

const FAILURE = /the helper that starts programs has ended with SIGKILL/;

type Process = { readonly pid: number; readonly parent: number; readonly command: string };

/** Those whose command line has the text. */
const processesWith = (text: string): readonly Process[] =>
  execFileSync('ps', ['-eo', 'pid=,ppid=,stat=,args='], { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , state = '', ...words]) => !state.startsWith('Z') && words.join(' ').includes(text))
    .map(([pid, parent, , ...words]) => ({ pid: Number(pid), parent: Number(parent), command: words.join(' ') }));

/** Not by `ps`: meanwhile a pod would be made. */
const helpers = (): readonly number[] =>
  readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8')
    .split(' ')
    .filter(
      (pid) => existsSync(`/proc/${pid}/cmdline`) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('berth-shim\0spawn'),
    )
    .map(Number);

/** Processes, mounts and cgroups with this id in their name. */
const left = (id: string): readonly string[] => [
  ...processesWith(id).map(({ pid, command }) => `${pid} ${command}`),
  ...readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .filter((line) => line.includes(id)),
  ...execFileSync('find', ['/sys/fs/cgroup', '-maxdepth', '4', '-name', `*${id}*`], { encoding: 'utf8' })
    .split('\n')
    .filter(Boolean),
];

describe('the helper that forks is killed', { timeout: 300_000 }, () => {
  let fixture: LxcFixture;
  before(async () => {
    fixture = await LxcFixture.open();
  });
  after(() => fixture.close());

  test('in a start: that fails, nothing of it stays, and the next one works', async () => {
    const { runtime, reached, open } = fixture.gated();
    const spec = await fixture.create(await fixture.pod(), { command: ['/bin/sh', '-c', 'echo here'] });
    const others = helpers();
    const started = assert.rejects(
      runtime.startContainer(spec),
      (error: unknown) => error instanceof BerthError && FAILURE.test(error.message),
    );
    const lxc = await reached();
    const [helper = 0] = helpers().filter((pid) => !others.includes(pid));
    const [waiting] = processesWith('berth-shim run').filter(({ parent }) => parent === helper);
    assert.ok(helper > 0 && waiting !== undefined);
    const processes = [fixture.shimOf(spec), waiting.pid, lxc];
    // The settings have secrets: who has read them keeps them no longer.
    for (const pid of [helper, ...processes]) {
      const files = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
      assert.ok(files.length > 2 && !files.some((file) => file.includes('memfd')), `${pid}: ${files.join(' ')}`);
    }
    // A shim that does not notice is ended all the same.
    process.kill(fixture.shimOf(spec), 'SIGSTOP');
    process.kill(helper, 'SIGKILL');
    await started;
    assert.deepEqual(
      processes.filter((pid) => existsSync(`/proc/${pid}/exe`)),
      [],
    );
    // What was made before the start is there.
    assert.deepEqual(
      left(spec.id).filter((line) => !line.startsWith('overlay ')),
      [],
    );
    open();
    await runtime.startContainer(spec);
    assert.equal((await fixture.wait(spec)).stdout, 'here\n');
    await runtime.close();
  });

  test('at any moment: what is being made fails, and nothing of it is left; or it is made', async () => {
    const outcomes: string[] = [];
    const pod = await fixture.pod();
    for (let round = 0; round < 40; round += 1) {
      const runtime = createLcrRuntime(fixture.config, silentLog);
      const spec = fixture.spec(
        { id: pod.id.slice(0, -4) + String(1000 + round), config: structuredClone(pod.config) },
        {
          command: ['/bin/sh', '-c', 'sleep 1000'],
        },
      );
      // The pid namespace of a pod, for the process that stays in it.
      delete spec.pod.config.linux?.securityContext?.namespaceOptions;
      const others = helpers();
      let making = spec.pod.id;
      const steps = async (): Promise<string> => {
        await runtime.createPod(spec.pod);
        making = spec.id;
        await runtime.createContainer(spec);
        making = 'start';
        await runtime.startContainer(spec);
        return 'made';
      };
      const outcome = steps().catch((error: unknown) => String(error));
      let helper: number | undefined;
      while (helper === undefined) {
        await sleep(1);
        [helper] = helpers().filter((pid) => !others.includes(pid));
      }
      await sleep(round);
      process.kill(helper, 'SIGKILL');
      const what = await outcome;
      outcomes.push(what === 'made' ? what : making === 'start' ? 'start' : making === spec.id ? 'container' : 'pod');
      if (what !== 'made') {
        assert.match(what, FAILURE);
        assert.deepEqual(left(making === 'start' ? `${spec.id}/lxc` : making), []);
      }
      await runtime.removeContainer(spec);
      await runtime.removePod(spec.pod);
      assert.deepEqual([...left(spec.id), ...left(spec.pod.id)], []);
      await runtime.close();
    }
    assert.ok(new Set(outcomes).size > 2, outcomes.join(' '));
  });
});
