/**
 * critest, the validation suite for CRI runtimes: every spec that needs nothing that is not built passes, one test here for each.
 * What is left out is named with its reason; a spec that critest skips by itself and that is not named here is a failure.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { berth } from '../src/berth.ts';
import { collect, criTool, criToolFlags } from '../src/crictl.ts';
import { critestImages } from '../src/critest-images.ts';
import { TestDaemon } from '../src/daemon.ts';

const NO_CNI = 'there is no CNI yet';
const NO_PULL = 'there is no pulling yet';

/** What is left out, and why. */
const LEFT_OUT: readonly (readonly [pattern: RegExp, reason: string])[] = [
  [/runtime should return runtime conditions/, `NetworkReady is false: ${NO_CNI}`],
  [/port mapping with/, NO_CNI],
  [/should support network$/, `${NO_CNI}: a pod has no address`],
  [/should support portforward \[Conformance\]/, `${NO_CNI}: the spec looks at the pod's address first`],
  [/stats/, 'there are no statistics yet'],
  [/Image Consistency/, NO_PULL],
  [/Image Identifier Consistency/, NO_PULL],
  [/public image/, NO_PULL],
  [/kinds of references/, NO_PULL],
  [/listImage/, NO_PULL],
  [/removing image/, NO_PULL],
  [/UserNamespaces/, 'there are no user namespaces yet'],
  [/benchmark/, 'critest runs them only when told to, instead of the others'],
  [/AppArmor|SELinux/, 'the kernel of the machine may have neither'],
  [/MaskedPaths/, 'the shell of the images runs its own ls, whatever masks the program'],
];

type Spec = {
  readonly ContainerHierarchyTexts: readonly string[] | null;
  readonly LeafNodeType: string;
  readonly LeafNodeText: string;
  readonly State: string;
  readonly Failure?: { readonly Message: string };
};

const nameOf = ({ ContainerHierarchyTexts: outer, LeafNodeText: own }: Spec): string =>
  [...(outer ?? []), own].join(' ').replace('[k8s.io] ', '');

/** Ids of the shared memory segments of the machine that nobody has attached and that are as large as those that critest makes. */
function sharedMemory(): string[] {
  const [, ...lines] = readFileSync('/proc/sysvipc/shm', 'utf8').trim().split('\n');
  return lines
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , size, , , attached]) => size === '1048576' && attached === '0')
    .map(([, id]) => id ?? '');
}

/** Longer than it takes by far, so that a call that hangs becomes a failure with a name. */
const TIMEOUT = ['--ginkgo.timeout', '15m'];

/** Runs critest with the specs that flags choose; gives every spec, those that were left out as well. */
async function critest(daemon: TestDaemon, name: string, ...flags: string[]): Promise<Spec[]> {
  const folder = join(daemon.dir, name);
  mkdirSync(folder);
  const report = ['--ginkgo.no-color', '--ginkgo.json-report', join(folder, 'report.json')];
  // Its own temporary files come below the test's folder and go with it.
  const env = { ...process.env, TMPDIR: folder };
  const child = spawn(criTool('critest'), [...criToolFlags(daemon), ...report, ...TIMEOUT, ...flags], {
    cwd: folder,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const { code, stdout, stderr } = await collect(child);
  assert.ok(code === 0 || code === 1, `critest ended with ${code}: ${stdout.slice(-2000)}${stderr.slice(-2000)}`);
  const [suite] = JSON.parse(readFileSync(join(folder, 'report.json'), 'utf8')) as { SpecReports: Spec[] }[];
  return (suite?.SpecReports ?? []).filter(({ LeafNodeType }) => LeafNodeType === 'It');
}

const hasRun = ({ State }: Spec): boolean => State !== 'skipped';

function passed({ State, Failure }: Spec): void {
  assert.equal(State, 'passed', Failure?.Message ?? '');
}

test('critest', async (t) => {
  await using daemon = await TestDaemon.start();
  for (const archive of critestImages()) {
    const { code, stderr } = await berth(daemon, ['image', 'import', '-'], archive);
    assert.equal(code, 0, stderr);
  }
  const before = sharedMemory();
  try {
    const leaveOut = LEFT_OUT.flatMap(([pattern]) => ['--ginkgo.skip', pattern.source]);
    const specs = await critest(daemon, 'spdy', ...leaveOut);
    const websocket = ['exec', 'attach', 'portforward'].map((name) => `--websocket-${name}`);
    const streaming = await critest(daemon, 'websocket', '--ginkgo.focus', 'Streaming', ...leaveOut, ...websocket);

    await t.test('what is left out is there, and nothing else is left out', () => {
      const names = specs.map(nameOf);
      for (const [pattern, reason] of LEFT_OUT)
        assert.ok(
          names.some((name) => pattern.test(name)),
          `${reason}: not there`,
        );
      const skipped = specs.filter((spec) => !hasRun(spec)).map(nameOf);
      assert.deepEqual(
        skipped.filter((name) => !LEFT_OUT.some(([pattern]) => pattern.test(name))),
        [],
      );
      const overSpdy = specs.filter((spec) => hasRun(spec) && /Streaming/.test(nameOf(spec))).map(nameOf);
      assert.deepEqual(streaming.filter(hasRun).map(nameOf).sort(), overSpdy.sort());
      assert.ok(overSpdy.length > 0);
    });
    for (const spec of specs.filter(hasRun)) await t.test(nameOf(spec), () => passed(spec));
    for (const spec of streaming.filter(hasRun)) await t.test(`${nameOf(spec)}, WebSocket`, () => passed(spec));
  } finally {
    // critest makes segments to look for from a container, and leaves them.
    const left = sharedMemory().filter((id) => !before.includes(id));
    if (left.length > 0)
      await collect(
        spawn(
          'ipcrm',
          left.flatMap((id) => ['-m', id]),
          { stdio: 'pipe' },
        ),
      );
  }
});
