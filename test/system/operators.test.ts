/** What operators see of real sessions: metrics by a real scrape, audit lines with exact counts, the list, and killing by the command. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { valueOf } from '../../packages/daemon/src/testing/parse-exposition.ts';
import { AttachClient } from '../src/attach.ts';
import { audited, scrape } from '../src/audit.ts';
import { TestDaemon } from '../src/daemon.ts';
import { type Pod, runContainer, runPod, type TestContainer } from '../src/pods.ts';
import { eventually } from '../src/processes.ts';
import { randomFile } from '../src/random.ts';

const MIB = 1024 * 1024;
const CLI = fileURLToPath(new URL('../../packages/cli/src/main.ts', import.meta.url));
const V5 = 'v5.channel.k8s.io';

let daemon: TestDaemon;
let pod: Pod;
/** Every URL that this file was given: none may show up in the log. */
const urls: string[] = [];

before(async () => {
  daemon = await TestDaemon.start({
    logLevel: 'debug',
    settings: '[metrics]\naddress = "127.0.0.1:0"\n[stdio]\nlive_buffer_bytes = 1048576\n',
  });
  pod = await runPod(daemon, 'audited');
});

after(async () => {
  await daemon[Symbol.asyncDispose]();
});

async function attach(container: TestContainer, options: { stdin?: boolean } = {}): Promise<AttachClient> {
  const url = await container.attachUrl(options);
  urls.push(url);
  return await AttachClient.open(url);
}

async function exec(container: TestContainer, cmd: string[], stdin = false): Promise<AttachClient> {
  const { url } = await daemon.client.runtime.exec({ containerId: container.id, cmd, stdin, stdout: true, stderr: true });
  urls.push(url);
  return await AttachClient.open(url);
}

const berth = async (...args: string[]): Promise<string> =>
  (await promisify(execFile)(process.execPath, ['--conditions=source', CLI, '--socket', daemon.socket, ...args])).stdout;

test('an attach: binary bytes each way, counted in audit lines, list and metrics to the byte', async () => {
  const file = join(daemon.dir, 'noise');
  const out = 5 * MIB + 17;
  await randomFile(file, out);
  const input = 3 * MIB + 1;
  // Reads its input to the last byte, then answers with noise on stdout and a few bytes on stderr.
  const script = `head -c ${input} | wc -c; cat /noise; printf 'err\\000!' >&2; read end`;
  const container = await runContainer(daemon, pod, script, { stdin: true, mounts: [{ containerPath: '/noise', hostPath: file }] });
  using client = await attach(container);
  await client.send(Buffer.alloc(input, 0));
  const answer = `${input}\n`.length + out;
  await eventually('all output at the client', () => client.stdout.bytes === answer && client.stderr.bytes === 5);
  const { sessions } = await daemon.client.sessions.list();
  const [session] = sessions.filter(({ containerId }) => containerId === container.id);
  assert.deepEqual(
    [session?.kind, session?.podId, session?.podName, session?.podNamespace, session?.containerName, session?.protocol],
    ['attach', pod.id, 'audited', 'test', container.config.metadata?.name, V5],
  );
  assert.deepEqual([session?.bytesIn, session?.bytesOut, session?.lagBytes], [BigInt(input), BigInt(answer + 5), 0n]);
  await client.send('end\n');
  assert.equal((await client.ended())?.status, 'Success');

  const [begin, end] = await audited(daemon, 'container', container.id, 2);
  assert.deepEqual([begin?.['phase'], begin?.['level'], end?.['phase'], end?.['level']], ['begin', 'info', 'end', 'info']);
  assert.equal(begin?.['session'], session?.id);
  assert.equal(end?.['remote'], session?.remote);
  assert.match(session?.remote ?? '', /^127\.0\.0\.1:\d+$/);
  assert.deepEqual(
    ['bytesIn', 'bytesOut', 'stdout', 'stderr', 'reason', 'cause', 'status'].map((key) => end?.[key]),
    [input + 4, answer + 5, answer, 5, 'Exited', 'container exited', 'Success'],
  );
  const families = await scrape(daemon);
  const bytes = (direction: string, stream: string): number =>
    valueOf(families, 'berth_session_bytes_total', { kind: 'attach', direction, stream });
  assert.deepEqual([bytes('in', 'stdin'), bytes('out', 'stdout'), bytes('out', 'stderr')], [input + 4, answer, 5]);
  assert.equal(valueOf(families, 'berth_session_first_output_seconds_count', { kind: 'attach' }), 1);
  assert.equal(valueOf(families, 'berth_containers', { state: 'exited' }), 1);
  assert.equal(valueOf(families, 'berth_pods', { state: 'ready' }), 1);
});

test('an exec: its program is named, its arguments are not, its exit code is', async () => {
  const container = await runContainer(daemon, pod, 'sleep 1000');
  using client = await exec(container, ['sh', '-c', 'head -c 1000 /dev/zero; : password=hunter2; exit 7']);
  assert.equal((await client.ended())?.status, 'Failure');
  assert.equal(client.stdout.bytes, 1000);
  const [, end] = await audited(daemon, 'container', container.id, 2);
  assert.deepEqual(
    ['kind', 'command', 'arguments', 'bytesOut', 'exitCode', 'reason', 'containerName'].map((key) => end?.[key]),
    ['exec', 'sh', 2, 1000, 7, 'Exited', container.config.metadata?.name],
  );
  assert.doesNotMatch(daemon.log(), /hunter2/);
});

test('a session that is stalled under output is killed by the command; its neighbour and the container go on', async () => {
  const container = await runContainer(daemon, pod, "read go; head -c 30000000 /dev/zero | tr '\\000' x; read go", { stdin: true });
  using stalled = await attach(container, { stdin: false });
  stalled.pause();
  using other = await attach(container);
  await other.send('go\n');
  await eventually('all output at the other client', () => other.stdout.bytes === 30_000_000, 120_000);
  const row = await eventually('the stalled session is behind', async () => {
    const { sessions } = await daemon.client.sessions.list();
    return sessions.find(({ containerId, lagBytes = 0n }) => containerId === container.id && lagBytes > 10_000_000n);
  });
  assert.ok(valueOf(await scrape(daemon), 'berth_session_lag_bytes_max') >= Number(row.lagBytes));
  const table = await berth('sessions');
  assert.match(table, new RegExp(`^${row.id} +attach +${row.containerName} .* ${V5} +stdout,stderr .* MB$`, 'm'));
  const json = JSON.parse(await berth('sessions', '-o', 'json')) as { sessions: { id: string; streams: string[] }[] };
  assert.deepEqual(json.sessions.find(({ id }) => id === row.id)?.streams, ['stdout', 'stderr']);

  const began = performance.now();
  assert.equal(await berth('sessions', 'kill', row.id.slice(0, 8)), `${row.id}\n`);
  assert.ok(performance.now() - began < 15_000);
  assert.ok(!(await berth('sessions', '-q')).includes(row.id));
  await assert.rejects(berth('sessions', 'kill', row.id), /no session has the id/);
  stalled.resume();
  await stalled.ended();
  assert.ok(stalled.stdout.bytes < 30_000_000);
  const killed = (await audited(daemon, 'container', container.id, 3)).find(({ phase }) => phase === 'end');
  assert.deepEqual([killed?.['session'], killed?.['reason'], killed?.['status']], [row.id, 'SessionKilled', 'Failure']);
  assert.match(String(killed?.['cause']), /^killed by \S/);

  await other.send('go\n');
  assert.equal((await other.ended())?.status, 'Success');
  assert.equal((await container.exited()).exitCode, 0);
  const families = await scrape(daemon);
  assert.equal(valueOf(families, 'berth_sessions_ended_total', { kind: 'attach', reason: 'SessionKilled' }), 1);
});

test('a client that reads is told who killed its session, and the container keeps its stdin', async () => {
  const container = await runContainer(daemon, pod, 'cat; echo end; sleep 1', { stdin: true });
  using client = await attach(container);
  await client.send('x\n');
  await client.sees(/x/);
  const [session] = (await daemon.client.sessions.list()).sessions.filter(({ containerId }) => containerId === container.id);
  await daemon.client.sessions.kill({ id: session?.id ?? '', by: 'carol' });
  const status = await client.ended();
  assert.deepEqual(
    [status?.status, status?.reason, status?.message],
    ['Failure', 'SessionKilled', 'the session was ended by carol'],
  );
  assert.equal(client.closed?.code, 1000);
  using again = await attach(container);
  await again.send('still here\n');
  await again.sees(/still here/);
});

test('an exec that is killed leaves no program; a slow client shows as fallback to the log', async () => {
  const container = await runContainer(daemon, pod, "read go; head -c 20000000 /dev/zero | tr '\\000' x; read go", { stdin: true });
  using client = await exec(container, ['sh', '-c', 'trap "" HUP; sleep 100000; true']);
  const [session] = await eventually('the exec is listed', async () => {
    const found = (await daemon.client.sessions.list()).sessions.filter(({ kind }) => kind === 'exec');
    return found.length === 1 ? found : undefined;
  });
  const programs = async (): Promise<string> => {
    const { stdout } = await daemon.client.runtime.execSync({ containerId: container.id, cmd: ['ps'], timeout: 20n });
    return Buffer.from(stdout).toString();
  };
  await eventually('the program runs', async () => /sleep 100000/.test(await programs()));
  await daemon.client.sessions.kill({ id: session?.id ?? '', by: 'dave' });
  assert.equal((await client.ended())?.reason, 'SessionKilled');
  await eventually('the program is gone', async () => !/100000/.test(await programs()));

  const before = await scrape(daemon);
  using slow = await attach(container, { stdin: false });
  slow.pause();
  using writer = await attach(container);
  await writer.send('go\n');
  await eventually('all output at the writer', () => writer.stdout.bytes === 20_000_000, 120_000);
  slow.resume();
  await eventually('all output at the slow client', () => slow.stdout.bytes === 20_000_000, 120_000);
  const after = await scrape(daemon);
  const more = (name: string): number => valueOf(after, name) - valueOf(before, name);
  assert.ok(more('berth_log_fallbacks_total') >= 1);
  assert.ok(more('berth_log_read_bytes_total') > 10_000_000);
  await writer.send('go\n');
  await Promise.all([writer.ended(), slow.ended()]);
});

test('the scrape stays the same size with many clients, and no ticket was ever logged', async () => {
  const size = async (): Promise<number> =>
    [...(await scrape(daemon)).values()].reduce((sum, { samples }) => sum + samples.length, 0);
  const container = await runContainer(daemon, pod, 'sleep 1000');
  const round = async (): Promise<void> => {
    const clients = await Promise.all(Array.from({ length: 40 }, () => attach(container)));
    for (const client of clients) client.close();
    await eventually('they have left', async () => (await daemon.client.sessions.list()).sessions.length === 0);
  };
  await round();
  const before = await size();
  for (let times = 0; times < 3; times += 1) await round();
  assert.equal(await size(), before);
  const log = daemon.log();
  assert.ok(urls.length > 160);
  for (const url of urls) assert.ok(!log.includes(url.split('/').at(-1) ?? url), 'a ticket in the log');
  const records = globSync(join(daemon.root, 'containers/*/record.json')).map((path) => readFileSync(path, 'utf8'));
  const secrets = records.map((record) => /"secret":"([0-9a-f]{64})"/.exec(record)?.[1] ?? assert.fail(record));
  assert.ok(secrets.length >= 5);
  for (const line of log.split('\n').slice(0, -1)) {
    assert.match(line, /^\{"level":"(?:debug|info|warn|error)","time":"[^"]+Z","pid":\d+,.*"msg":"/);
    // A second field of a name would win over the first.
    assert.equal((JSON.parse(line) as { pid?: number }).pid, daemon.pid, line);
  }
  for (const secret of secrets) assert.ok(!log.includes(secret), "a shim's secret in the log");
});
