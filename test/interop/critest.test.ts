/**
 * critest, the validation suite for CRI runtimes: every spec that needs nothing that is not built passes, one test here for each.
 * What is left out is named with its reason; a spec that critest skips by itself and that is not named here is a failure.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { berth } from '../src/berth.ts';
import { collect } from '../src/crictl.ts';
import { critestImages } from '../src/critest-images.ts';
import { TestDaemon } from '../src/daemon.ts';

/** What is left out, and why. */
const LEFT_OUT: readonly (readonly [pattern: RegExp, reason: string])[] = [
  [/runtime should return runtime conditions/, 'NetworkReady is false until there is CNI'],
  [
    /port mapping with|should support network$|should support portforward \[Conformance\]/,
    'a pod has no address until there is CNI',
  ],
  [/stats/, 'there are no statistics yet'],
  [
    /Image Consistency|Image Identifier Consistency|public image|kinds of references|listImage|removing image/,
    'there is no pulling yet',
  ],
  [/UserNamespaces/, 'there are no user namespaces yet'],
  [/benchmark/, 'critest runs them only when told to, instead of the others'],
  [/AppArmor|SELinux/, 'the kernel of the machine has neither'],
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

/** Ids of the shared memory segments of the machine. */
function sharedMemory(): Set<string> {
  const [, ...lines] = readFileSync('/proc/sysvipc/shm', 'utf8').trim().split('\n');
  return new Set(lines.map((line) => line.trim().split(/\s+/)[1] ?? ''));
}

/** Runs critest with the specs that a pattern chooses; gives each spec that it has run. */
async function critest(daemon: TestDaemon, name: string, ...flags: string[]): Promise<Spec[]> {
  const binary = process.env['BERTH_CRITEST'];
  if (binary === undefined) throw new Error('BERTH_CRITEST must name a critest binary; .ci/run builds one');
  const folder = join(daemon.dir, name);
  mkdirSync(folder);
  writeFileSync(join(folder, 'crictl.yaml'), '');
  const socket = `unix://${daemon.socket}`;
  const settings = ['--config', join(folder, 'crictl.yaml'), '--runtime-endpoint', socket, '--image-endpoint', socket];
  const report = ['--ginkgo.no-color', '--ginkgo.json-report', join(folder, 'report.json')];
  // Its own temporary files come below the test's folder and go with it.
  const env = { ...process.env, TMPDIR: folder };
  const child = spawn(binary, [...settings, ...report, ...flags], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const { code, stdout, stderr } = await collect(child);
  assert.ok(code === 0 || code === 1, `critest ended with ${code}: ${stdout.slice(-2000)}${stderr.slice(-2000)}`);
  const [suite] = JSON.parse(readFileSync(join(folder, 'report.json'), 'utf8')) as { SpecReports: Spec[] }[];
  return (suite?.SpecReports ?? []).filter(({ LeafNodeType }) => LeafNodeType === 'It');
}

const daemon = await TestDaemon.start();
const before = sharedMemory();
after(async () => {
  await daemon[Symbol.asyncDispose]();
  // critest makes segments to look for from a container, and leaves them.
  const left = [...sharedMemory()].filter((id) => !before.has(id));
  if (left.length > 0)
    await collect(
      spawn(
        'ipcrm',
        left.flatMap((id) => ['-m', id]),
        { stdio: 'pipe' },
      ),
    );
});

for (const archive of critestImages()) {
  const { code, stderr } = await berth(daemon, ['image', 'import', '-'], archive);
  assert.equal(code, 0, stderr);
}

const leaveOut = LEFT_OUT.flatMap(([pattern]) => ['--ginkgo.skip', pattern.source]);
const specs = await critest(daemon, 'spdy', ...leaveOut);
const websocket = ['exec', 'attach', 'portforward'].map((name) => `--websocket-${name}`);
const overWebSocket = await critest(daemon, 'websocket', '--ginkgo.focus', 'Streaming', ...leaveOut, ...websocket);

test('what is left out is there, and nothing else is left out', () => {
  const names = specs.map(nameOf);
  for (const [pattern, reason] of LEFT_OUT)
    assert.ok(
      names.some((name) => pattern.test(name)),
      `${reason}: nothing left out`,
    );
  const skipped = specs.filter(({ State }) => State === 'skipped').map(nameOf);
  assert.deepEqual(
    skipped.filter((name) => !LEFT_OUT.some(([pattern]) => pattern.test(name))),
    [],
  );
  assert.ok(overWebSocket.some(hasRun));
});

for (const spec of specs.filter(hasRun)) test(nameOf(spec), () => passed(spec));
for (const spec of overWebSocket.filter(hasRun)) test(`${nameOf(spec)}, WebSocket`, () => passed(spec));

function hasRun({ State }: Spec): boolean {
  return State !== 'skipped';
}

function passed({ State, Failure }: Spec): void {
  assert.equal(State, 'passed', Failure?.Message ?? '');
}
