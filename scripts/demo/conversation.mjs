/** The demo without a terminal: the same steps over gRPC and WebSocket, printed; ends with 1 at the first surprise. */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { attach } from '@berth/client';
import { Interruption } from './interruption.mjs';
import { PrivateDaemon } from './private-daemon.mjs';

/** CRI's NamespaceMode.NODE: the host's network, which needs no network plugins. */
const NODE = 2;
/** CRI's NamespaceMode.CONTAINER: process ids of its own, with the command as process 1. */
const CONTAINER = 1;
/** CRI's ContainerState.CONTAINER_EXITED. */
const EXITED = 2;

const interruption = new Interruption();
const daemon = new PrivateDaemon();
const started = performance.now();
const say = (text) => console.log(`[${((performance.now() - started) / 1000).toFixed(2)} s] ${text}`);
interruption.heard = (signal) => say(`${signal}: no further`);
/** Says what has been done; an interrupted demo goes no further. */
const step = (text) => {
  interruption.check();
  say(text);
};

try {
  step(await daemon.start());
  await converse();
  say('cleaning up');
} catch (error) {
  console.error(interruption.signal === undefined ? error : error.message);
  process.exitCode = 1;
} finally {
  await daemon.close();
}
say(process.exitCode === 1 ? 'the demo FAILED' : 'all as expected; nothing is left behind');
process.exit();

async function converse() {
  const version = await daemon.client.runtime.version({});
  step(`Version: ${version.runtimeName} ${version.runtimeVersion}, CRI ${version.runtimeApiVersion}`);

  mkdirSync(daemon.logs, { recursive: true });
  const pod = {
    metadata: { name: 'demo', namespace: 'demo', uid: 'demo' },
    logDirectory: daemon.logs,
    linux: { securityContext: { namespaceOptions: { network: NODE, pid: CONTAINER } } },
  };
  const { podSandboxId } = await daemon.client.runtime.runPodSandbox({ config: pod });
  step(`RunPodSandbox: ${podSandboxId}`);

  const id = await startShell(podSandboxId, pod);
  step(`CreateContainer, StartContainer: ${id}`);

  const first = await open(id);
  step('Attach: a WebSocket to the streams of init');
  first.stdin.write('echo "process $$ says hello"; echo "and this is stderr" >&2\n');
  step(`  sent: echo "process $$ says hello" ...`);
  await until(() => first.out().includes('process 1 says hello\n') && first.err() === 'and this is stderr\n');
  step(`  stdout: ${first.out().trim()}`);
  step(`  stderr: ${first.err().trim()}`);

  await daemon.end('SIGKILL');
  step('berthd has been killed with SIGKILL; the container goes on');
  await daemon.start();
  step('berthd is back');
  const second = await open(id);
  second.stdin.write('echo "still process $$"\n');
  await until(() => second.out() === 'still process 1\n');
  step(`  stdout: ${second.out().trim()}`);

  second.stdin.write('exit 42\n');
  const end = await second.ended;
  assert.equal(end.kind, 'status');
  assert.equal(end.status.status, 'Success', end.status.message);
  step('  sent: exit 42; the session ended with a status, after the last byte');
  const { status } = await daemon.client.runtime.containerStatus({ containerId: id });
  assert.equal(status?.state, EXITED);
  assert.equal(status.exitCode, 42);
  step(`ContainerStatus: exited with ${status.exitCode}`);

  const refusal = await daemon.client.runtime.attach({ containerId: id, stdin: true, stdout: true, stderr: true }).then(
    () => assert.fail('attach to an exited container was accepted'),
    (error) => error,
  );
  assert.match(refusal.message, /exited/i);
  step(`Attach again: refused, ${refusal.message}`);
}

async function startShell(podSandboxId, sandboxConfig) {
  const config = {
    metadata: { name: 'shell' },
    image: { image: 'berth.local/busybox' },
    command: ['sh'],
    stdin: true,
    logPath: 'shell.log',
  };
  const { containerId } = await daemon.client.runtime.createContainer({ podSandboxId, config, sandboxConfig });
  await daemon.client.runtime.startContainer({ containerId });
  return containerId;
}

/** An attach session that collects its output. */
async function open(id) {
  const session = await attach(daemon.client, id, { stdin: true, stdout: true, stderr: true });
  // Losing the session is part of the demo when the daemon is killed; who needs its end awaits it.
  session.ended.catch(() => {});
  return { stdin: session.stdin, ended: session.ended, out: collect(session.stdout), err: collect(session.stderr) };
}

function collect(stream) {
  const chunks = [];
  stream.on('data', (chunk) => chunks.push(chunk)).on('error', () => {});
  return () => Buffer.concat(chunks).toString();
}

/** Ten seconds are ages for a shell; a machine on its knees gets them. */
async function until(condition) {
  for (const end = performance.now() + 10_000; performance.now() < end; await sleep(5)) {
    interruption.check();
    if (condition()) return;
  }
  assert.fail('the container did not answer as expected');
}
