import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { parseFlags } from './flags.ts';
import { loadConfig } from './load.ts';

async function withFile(text: string, use: (path: string) => Promise<void>): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'berth-unit-'));
  try {
    const path = join(dir, 'berth.toml');
    await writeFile(path, text);
    await use(path);
  } finally {
    await rm(dir, { recursive: true });
  }
}

test('without a file and flags the defaults hold', async () => {
  const config = await loadConfig(parseFlags([]));
  assert.deepEqual(
    [config.root, config.state, config.socket, config.logLevel],
    ['/var/lib/berth', '/run/berth', '/run/berth/berth.sock', 'info'],
  );
  assert.deepEqual([config.streaming.host, config.streaming.port], ['127.0.0.1', 10_350]);
  assert.equal(config.stdio.ringBytes, 262_144);
  assert.match(config.runtime.shim, /\/shim\/build\/berth-shim$/);
});

test('the file sets everything, flags win over it', async () => {
  const text = `
root = "/r"
state = "/s"
log_level = "debug"
[streaming]
address = "127.0.0.2:1234"
ticket_ttl_ms = 5000
max_tickets = 5
[stdio]
slow = "end"
exit_code_status = true
[port_forward]
max_connections = 7
max_connections_per_session = 6
dial_timeout_ms = 500
[runtime]
cgroup_parent = "/pods"
[image]
default_archive = "/img.tar"
`;
  await withFile(text, async (path) => {
    const config = await loadConfig(parseFlags(['--config', path]));
    assert.deepEqual([config.root, config.socket, config.logLevel], ['/r', '/s/berth.sock', 'debug']);
    assert.deepEqual(
      [config.streaming.host, config.streaming.port, config.streaming.ticketTtlMs, config.streaming.maxTickets],
      ['127.0.0.2', 1234, 5000, 5],
    );
    assert.deepEqual([config.stdio.slow, config.stdio.exitCodeStatus], ['end', true]);
    assert.deepEqual(config.portForward, { maxConnections: 7, maxConnectionsPerSession: 6, dialTimeoutMs: 500 });
    assert.deepEqual([config.runtime.cgroupParent, config.image.defaultArchive], ['/pods', '/img.tar']);
    const flags = [
      '--config',
      path,
      '--root',
      '/x',
      '--streaming-address',
      '[::1]:0',
      '--socket',
      '/y.sock',
      '--log-level',
      'warn',
      '--default-image',
      '/o.tar',
    ];
    const over = await loadConfig(parseFlags(flags));
    assert.deepEqual([over.root, over.state, over.socket, over.logLevel], ['/x', '/s', '/y.sock', 'warn']);
    assert.deepEqual([over.streaming.host, over.streaming.port, over.streaming.maxTickets], ['::1', 0, 5]);
    assert.equal(over.image.defaultArchive, '/o.tar');
  });
});

test('settings of the streaming server: limits follow each other, URLs lose their last slash', async () => {
  const { streaming } = await loadConfig(parseFlags([]));
  assert.deepEqual([streaming.maxConnections, streaming.maxWaitingConnections, streaming.drainMs], [4_352, 256, 3_000]);
  assert.deepEqual([streaming.idleTimeoutMs, streaming.tls, streaming.advertise], [0, undefined, undefined]);
  const text = `
[streaming]
address = "0.0.0.0:10350"
advertise = "https://Node.example:10350/berth/"
tls_cert = "/c"
tls_key = "/k"
tls_client_ca = "/a"
max_sessions = 10
max_waiting_connections = 5
drain_ms = 0
`;
  await withFile(text, async (path) => {
    const { streaming: set } = await loadConfig(parseFlags(['--config', path]));
    assert.deepEqual(set.tls, { cert: '/c', key: '/k', clientCa: '/a' });
    assert.deepEqual([set.advertise, set.maxConnections, set.drainMs], ['https://node.example:10350/berth', 15, 0]);
  });
  for (const url of ['http://127.0.0.1:80', 'http://localhost:1', 'http://[::1]:1', 'https://node.example']) {
    await withFile(`[streaming]\nadvertise = "${url}"`, async (path) => {
      assert.equal((await loadConfig(parseFlags(['--config', path]))).streaming.advertise, url.replace(/:80$/, ''));
    });
  }
});

test('what is wrong is named: file, key, reason', async () => {
  const wrong: [string, RegExp][] = [
    ['rooot = "/r"', /berth\.toml: "rooot": is not a setting/],
    ['[streaming]\nhost = "x"', /"streaming\.host": is not a setting/],
    ['root = "relative"', /"root": must be an absolute path/],
    ['[streaming]\naddress = "127.0.0.1"', /"streaming\.address": must be HOST:PORT/],
    ['[streaming]\naddress = "127.0.0.1:70000"', /at most 65535/],
    ['[stdio]\nring_bytes = 10', /"stdio\.ring_bytes"/],
    ['[streaming]\nadvertise = "node.example:10350"', /"streaming\.advertise": must be a URL like https/],
    ['[streaming]\nadvertise = "http://node.example"', /"streaming\.advertise": must be https/],
    ['[streaming]\nadvertise = "https://me@node.example"', /"streaming\.advertise": must have no user/],
    ['[streaming]\nadvertise = "https://node.example/?a=b"', /"streaming\.advertise": must have no user, query/],
    ['[streaming]\ntls_cert = "/c"', /"streaming\.tls_cert" is set, but not streaming\.tls_key/],
    ['[streaming]\ntls_key = "/k"', /"streaming\.tls_key" is set, but not streaming\.tls_cert/],
    ['[streaming]\ntls_client_ca = "/a"', /"streaming\.tls_client_ca" is set, but not streaming\.tls_cert and/],
    ['[streaming]\ntls_cert = "c.pem"', /"streaming\.tls_cert": must be an absolute path/],
    ['[streaming]\nidle_timeout_ms = -1', /"streaming\.idle_timeout_ms"/],
    ['[runtime]\ncgroup_parent = "../x"', /"runtime\.cgroup_parent": "\." and "\.\." are not allowed/],
    ['[runtime]\ncgroup_parent = "a b"', /"runtime\.cgroup_parent": "a b" has characters/],
    ['[runtime]\ncgroup_parent = ""', /"runtime\.cgroup_parent": "" has characters/],
    ['root = ', /is not TOML: line 1/],
  ];
  for (const [text, message] of wrong) {
    await withFile(text, (path) => assert.rejects(loadConfig(parseFlags(['--config', path])), { code: 'CONFIG_INVALID', message }));
  }
  await assert.rejects(loadConfig(parseFlags(['--config', '/nowhere/berth.toml'])), { code: 'CONFIG_INVALID', message: /nowhere/ });
  await assert.rejects(loadConfig(parseFlags(['--log-level', 'loud'])), {
    code: 'CONFIG_INVALID',
    message: /command line.*log_level/,
  });
  // As of a variable that is not set; it would mean the folder where the daemon was started.
  for (const flag of ['root', 'state', 'socket'])
    await assert.rejects(loadConfig(parseFlags([`--${flag}=`])), {
      code: 'CONFIG_INVALID',
      message: `the command line: "${flag}": must be an absolute path`,
    });
  assert.throws(() => parseFlags(['--rot', '/r']), { code: 'CONFIG_INVALID', message: /--rot/ });
  assert.throws(() => parseFlags(['extra']), { code: 'CONFIG_INVALID' });
});

const berthd = (...args: string[]) =>
  promisify(execFile)(process.execPath, ['--conditions=source', new URL('../main.ts', import.meta.url).pathname, ...args], {
    timeout: 60_000,
  });

test('berthd answers help and version, and refuses what it does not know with status 2', async () => {
  assert.match((await berthd('--help')).stdout, /^Usage: berthd/);
  assert.equal((await berthd('--version')).stdout, 'berthd 0.1.0\n');
  await assert.rejects(berthd('--bogus'), (error: Error & { code: number; stderr: string }) => {
    assert.equal(error.code, 2);
    assert.match(error.stderr, /^berthd: .*--bogus/);
    assert.ok(!error.stderr.includes('    at '), 'no stack trace for a mistake of the user');
    return true;
  });
});
