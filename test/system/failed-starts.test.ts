/** Starts that fail: one clear sentence, and nothing of them is left; what runs, of another daemon or without one, does not notice. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { ContainerState } from '@berth/cri-api';
import { Certificates } from '../../packages/daemon/src/testing/certificates.ts';
import { TestDaemon } from '../src/daemon.ts';
import { leftovers } from '../src/leftovers.ts';
import { IMAGE, runContainer, runPod, type TestContainer } from '../src/pods.ts';

/** A start with these flags ends with the sentence, and with nothing else on stderr but log lines. */
async function fails(daemon: TestDaemon, sentence: RegExp, ...flags: string[]): Promise<void> {
  const { code, stdout, stderr } = await daemon.startFails(...flags);
  assert.equal(code, 1, stderr);
  assert.equal(stdout, '');
  const said = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
  assert.equal(said.length, 1, stderr);
  assert.match(said[0] ?? '', sentence);
}

const left = (daemon: TestDaemon): string[] => leftovers(basename(daemon.dir));

async function works(daemon: TestDaemon): Promise<void> {
  const container = await runContainer(daemon, await runPod(daemon), 'exec sleep 1000');
  await answers(daemon, container);
}

async function answers(daemon: TestDaemon, container: TestContainer): Promise<void> {
  assert.equal((await container.status()).state, ContainerState.CONTAINER_RUNNING);
  const { stdout } = await daemon.client.runtime.execSync({ containerId: container.id, cmd: ['echo', 'here'], timeout: 60n });
  assert.equal(Buffer.from(stdout).toString(), 'here\n');
}

test('whatever keeps a daemon from serving: nothing is mounted or made below its folders afterwards, and the next start works', async () => {
  using certs = new Certificates();
  await using daemon = TestDaemon.prepare();
  const busy = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => busy.once('listening', resolve));
  const address = `127.0.0.1:${(busy.address() as AddressInfo).port}`;
  const damaged = join(daemon.dir, 'damaged.tar');
  writeFileSync(damaged, Buffer.alloc(10_240, 'x'));
  const inTheWay = join(daemon.dir, 'no-socket');
  writeFileSync(inTheWay, '');
  const { cert } = certs.issue('server');
  const settings = (name: string, text: string): string[] => {
    const file = join(daemon.dir, `${name}.toml`);
    writeFileSync(file, `${readFileSync(join(daemon.dir, 'berthd.toml'), 'utf8')}\n${text}\n`);
    return ['--config', file];
  };
  try {
    for (const [sentence, flags] of [
      [/^berthd: the default image \S+missing\.tar cannot be read: ENOENT/, ['--default-image', join(daemon.dir, 'missing.tar')]],
      [/^berthd: the default image \S+damaged\.tar cannot be read: /, ['--default-image', damaged]],
      [/^berthd: port \d+ on 127\.0\.0\.1 is in use by another program: .*streaming server/, ['--streaming-address', address]],
      [/^berthd: port \d+ on 127\.0\.0\.1 is in use by another program: .*metrics/, ['--metrics-address', address]],
      [/^berthd: .*no-socket.* is not a socket/, ['--socket', inTheWay]],
      [/^berthd: .*tls_key/, settings('tls', `[streaming]\ntls_cert = "${cert}"\ntls_key = "${join(daemon.dir, 'missing.key')}"`)],
      [/^berthd: the root folder \/etc\/passwd\/x cannot be made: ENOTDIR/, ['--root', '/etc/passwd/x']],
      [/^berthd: the root folder \/proc\/x cannot be made: ENOENT/, ['--root', '/proc/x']],
      [/^berthd: no file can be made in \/proc: /, ['--root', '/proc']],
      [/^berthd: the state folder \/sys\/x\/s cannot be made: E/, ['--state', '/sys/x/s']],
      [/^berthd: the folder of the socket \/etc\/passwd cannot be made: EEXIST/, ['--socket', '/etc/passwd/x.sock']],
      [/^berthd: the folder of the socket \/proc\/x cannot be made: ENOENT/, ['--socket', '/proc/x/b.sock']],
      [/^berthd: the state directory \/tmp\/x{30} is longer than 32 bytes/, ['--state', `/tmp/${'x'.repeat(30)}`]],
      // It has made the state folder a mount by then.
      [/^berthd: \/nowhere\/shim is not there/, settings('shim', `shim = "/nowhere/shim"`)],
    ] as const) {
      await fails(daemon, sentence, ...flags);
      assert.deepEqual(left(daemon), [], String(sentence));
    }
    assert.equal(existsSync(`/tmp/${'x'.repeat(30)}`), false);
    await daemon.start();
    await works(daemon);
  } finally {
    busy.close();
  }
});

test('containers that run without a daemon go on through starts that fail, and the next daemon has them', async () => {
  await using daemon = await TestDaemon.start();
  const container = await runContainer(daemon, await runPod(daemon), 'exec sleep 1000');
  const before = await container.pids();
  for (const end of [async () => await daemon.stop(), async () => await daemon.kill()]) {
    await end();
    await fails(daemon, /^berthd: the default image /, '--default-image', join(daemon.dir, 'missing.tar'));
    await fails(daemon, /not a socket/, '--socket', join(daemon.dir, 'berthd.toml'));
    await daemon.start();
    await answers(daemon, container);
    assert.deepEqual(await container.pids(), before);
  }
});

test("a daemon that comes to another one's folders or socket ends, and the other one keeps what it has", async () => {
  await using daemon = await TestDaemon.start();
  const mounts = left(daemon).filter((line) => line.startsWith('mount'));
  const own = join(daemon.dir, 'other');
  mkdirSync(own, { mode: 0o755 });
  const root = ['--root', join(own, 'r')];
  const state = ['--state', join(own, 's')];
  const socket = ['--socket', join(own, 'x.sock')];
  await fails(daemon, /^berthd: the root folder \S+ is in use by another berthd \(pid \d+\)$/, ...state, ...socket);
  await fails(daemon, /^berthd: the state folder \S+ is in use by another berthd \(pid \d+\)$/, ...root, ...socket);
  await fails(daemon, /^berthd: another daemon serves \S+$/, ...root, ...state, '--socket', daemon.socket);
  await fails(
    daemon,
    /^berthd: port \d+ .*streaming server/,
    ...root,
    ...state,
    ...socket,
    '--streaming-address',
    new URL(daemon.streaming).host,
  );
  assert.deepEqual(
    left(daemon).filter((line) => line.startsWith('mount')),
    mounts,
  );
  await works(daemon);
});

test('a container whose log or volume would be where no folder can be made is refused; without LXC the runtime says that it is not ready', async () => {
  // The settings of a test daemon end within [runtime].
  await using daemon = await TestDaemon.start({ settings: 'lxc_start = "/nope"' });
  const { runtime } = daemon.client;
  const { status } = await runtime.status({ verbose: true });
  const ready = status?.conditions.find(({ type }) => type === 'RuntimeReady');
  assert.deepEqual([ready?.status, ready?.reason], [false, 'LxcUnusable']);
  assert.match(ready?.message ?? '', /cannot run \/nope: .*ENOENT/);

  const sandboxConfig = { metadata: { name: 'p', uid: 'u', namespace: 'n' }, logDirectory: '/proc/berth' };
  const { podSandboxId } = await runtime.runPodSandbox({ config: sandboxConfig });
  const config = { metadata: { name: 'c' }, image: { image: IMAGE }, command: ['true'] };
  const timeoutMs = 30_000;
  const log = runtime.createContainer({ podSandboxId, sandboxConfig, config: { ...config, logPath: 'c.log' } }, { timeoutMs });
  await assert.rejects(log, {
    code: 'LOG_REFUSED',
    message: /folder of the container's log cannot be made: ENOENT.*\/proc\/berth/,
  });
  const mounts = [{ hostPath: '/proc/berth/x', containerPath: '/x' }];
  const volume = runtime.createContainer({ podSandboxId, sandboxConfig, config: { ...config, mounts } }, { timeoutMs });
  await assert.rejects(volume, { code: 'INVALID_FIELD', message: /mounts\[0\]\.host_path: .*ENOENT/ });
});
