/** How containers end, and what is left of them: status, record, start errors, killed monitors and shims. */
import assert from 'node:assert/strict';
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, rmdirSync, writeFileSync, unlinkSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Container, type ExitRecord, logBytes, type Options, Pause, readLog, SHIM, SKIP, until } from './support/container.ts';

const options = { skip: SKIP };
const SIGHUP = 1;
const SIGKILL = 9;
const SIGTERM = 15;
const EBUSY = 16;
const LEAVE = 0x0d;

/** Runs a container to its end, checks that nothing of it is left, gives its record. */
async function run(settings: Options): Promise<ExitRecord> {
  await using container = new Container(settings);
  const peer = await container.attach();
  const exit = await peer.exit();
  const record = await container.exitRecord();
  assert.equal(exit.code, record.code);
  assert.equal(exit.signal, record.signal);
  assert.equal(['exited', 'signaled', 'unknown'][exit.kind], record.kind);
  await peer.leave();
  await until(() => container.leftovers().length === 0, `nothing left, but ${container.leftovers().join(' ')}`);
  return record;
}

test('a program that ends with 0: output, record and log', options, async () => {
  await using container = new Container({ args: ['sh', '-c', 'echo hello; echo oops >&2'] });
  const peer = await container.attach();
  const exit = await peer.exit();
  assert.deepEqual([exit.kind, exit.code, exit.drained, exit.offset], [0, 0, 1, 11]);
  assert.equal(peer.text(1), 'hello\n');
  assert.equal(peer.text(2), 'oops\n');
  const record = await container.exitRecord();
  assert.equal(record.kind, 'exited');
  assert.equal(record.offset, '11');
  assert.ok(BigInt(record.startedAt) < BigInt(record.finishedAt));
  await peer.leave();
  const lines = readLog(container.log).map((r) => `${r.stream} ${r.kind} ${r.content.toString('latin1')}`);
  assert.deepEqual(lines.sort(), ['stderr F oops', 'stdout F hello']);
});

test('exit statuses', options, async () => {
  assert.equal((await run({ args: ['sh', '-c', 'exit 42'] })).code, 42);
  assert.equal((await run({ args: ['sh', '-c', 'exit 255'] })).code, 255);
});

test('a program that is killed by a signal that the daemon sends', options, async () => {
  await using container = new Container({ args: ['sleep', '1000'] });
  const peer = await container.attach();
  assert.equal((await peer.signal(SIGKILL)).errno, 0);
  const exit = await peer.exit();
  assert.deepEqual([exit.kind, exit.code, exit.signal], [1, 137, SIGKILL]);
  // LXC's own words about it are nobody's output.
  assert.equal(exit.offset, 0);
  assert.equal((await peer.signal(SIGTERM)).errno, 3);
  await peer.leave();
});

test('a signal to every process of the container', options, async () => {
  await using container = new Container({
    args: [
      'sh',
      '-c',
      // Init waits for the other, which goes on for ever unless the signal is its own as well.
      'trap "echo one; wait; exit 7" TERM; sh -c "trap \\"echo two; exit\\" TERM; echo ready; while :; do usleep 10000; done" & wait; wait',
    ],
  });
  const peer = await container.attach();
  await peer.untilOutput('ready');
  assert.equal((await peer.signal(SIGTERM, true)).errno, 0);
  const exit = await peer.exit();
  assert.equal(exit.code, 7);
  assert.match(peer.text(), /one/);
  assert.match(peer.text(), /two/);
  await peer.leave();
});

test('SIGKILL to every process reaches a frozen container', options, async () => {
  await using container = new Container({ args: ['sleep', '1000'] });
  const peer = await container.attach();
  const freezer = container.cgroups.find((path) => existsSync(join(path, 'freezer.state')));
  const file = freezer === undefined ? join(container.cgroups[0] ?? '', 'cgroup.freeze') : join(freezer, 'freezer.state');
  writeFileSync(file, freezer === undefined ? '1' : 'FROZEN');
  assert.equal((await peer.signal(SIGKILL, true)).errno, 0);
  const exit = await peer.exit();
  assert.deepEqual([exit.code, exit.drained], [137, 1]);
  await peer.leave();
});

test('an OOM kill is told', options, async () => {
  const settings: Options = {
    args: ['sh', '-c', 'x=$(yes | head -c 100000000 | tr -d "\\n"); x="$x$x"; echo not reached'],
    memory: 40 * 1024 * 1024,
  };
  const record = await run(settings);
  assert.equal(record.oom, true);
  assert.equal((await run({ args: ['true'] })).oom, false);
});

test('start errors: not found, not executable, no such directory', options, async () => {
  const cases: [Options, string, RegExp][] = [
    [{ args: ['nothing-like-this'] }, 'notfound', /nothing-like-this: No such file/],
    [{ args: ['/no/such/thing', 'x'] }, 'notfound', /\/no\/such\/thing: No such file/],
    [{ args: [''] }, 'notfound', /No such file/],
    [{ args: ['/etc/passwd'] }, 'noexec', /\/etc\/passwd: Permission denied/],
    [{ args: ['/etc'] }, 'noexec', /Permission denied/],
    [
      { args: ['/tmp/garbage'], before: (c) => writeFileSync(join(c.rootfs, 'tmp/garbage'), 'no program\n', { mode: 0o755 }) },
      'noexec',
      /Exec format error/,
    ],
    [{ args: ['true'], cwd: '/not/here' }, 'cwd', /\/not\/here: No such file/],
    [{ args: ['true'], cwd: '/etc/passwd' }, 'cwd', /Not a directory/],
  ];
  for (const [settings, kind, text] of cases) {
    await using container = new Container(settings);
    const started = await container.start();
    assert.deepEqual([started.ok, started.kind], [false, kind], started.line);
    assert.match(started.text, text);
    assert.deepEqual(container.leftovers(), []);
    assert.equal(existsSync(container.record), false);
    assert.equal(existsSync(container.log) ? readFileSync(container.log, 'utf8') : '', '');
  }
});

test('start errors: what LXC says', options, async () => {
  await using container = new Container({
    args: ['true'],
    lxc: ['lxc.mount.entry = /no/such/source mnt none bind,create=dir 0 0'],
  });
  const started = await container.start();
  assert.equal(started.kind, 'lxc', started.line);
  assert.match(started.text, /mount/i);
  assert.deepEqual(container.leftovers(), []);
  await using broken = new Container({ args: ['true'], lxc: ['lxc.no.such.key = 1'] });
  assert.equal((await broken.start()).kind, 'lxc');
});

test('start errors: a bad configuration', options, async () => {
  await using container = new Container({ args: ['true'] });
  for (const bad of ['', 'id', 'id=x\0', container.configuration().replace('ring=', ''), `${container.configuration()}what=1\0`]) {
    const text = bad === container.configuration() ? 'nonsense=1\0' : bad;
    const started = await container.start(text);
    assert.equal(started.kind, 'system', JSON.stringify(text));
  }
});

for (const shared of [false, true]) {
  test(`SIGHUP does not start init again (${shared ? 'shared' : 'own'} pid namespace)`, options, async () => {
    // In its own pid namespace init is protected from signals that it does not handle, but for SIGKILL: reboot(2) is what gives SIGHUP there.
    using pause = new Pause();
    await using container = new Container({
      args: ['sh', '-c', 'echo started; exec sleep 1000'],
      ...(shared ? { lxc: [pause.lxc] } : {}),
    });
    const peer = await container.attach();
    await peer.untilOutput('started');
    if (shared) {
      await peer.signal(SIGHUP);
      const exit = await peer.exit();
      assert.deepEqual([exit.kind, exit.code, exit.signal], [1, 129, SIGHUP]);
    } else {
      process.kill(peer.welcome.initPid, 'SIGHUP');
      await sleep(200);
      assert.equal(peer.has(0x87), false);
      await peer.signal(SIGKILL);
      await peer.exit();
    }
    assert.equal(peer.text(), 'started\n');
    await peer.leave();
    await until(() => container.leftovers().length === 0, 'nothing left');
  });
}

test('a monitor that is killed: unknown, never 0', options, async () => {
  await using container = new Container({ args: ['sh', '-c', 'echo up; sleep 1000'] });
  const peer = await container.attach();
  await peer.untilOutput('up');
  process.kill(container.monitorPid, 'SIGKILL');
  const exit = await peer.exit();
  assert.deepEqual([exit.kind, exit.code, exit.signal], [2, 255, 0]);
  const record = await container.exitRecord();
  assert.equal(record.kind, 'unknown');
  assert.notEqual(record.reason, '');
  await peer.leave();
  await until(() => container.leftovers().length === 0, `nothing left, but ${container.leftovers().join(' ')}`);
});

for (const more of [[], ['uid=1234', 'gid=1234']])
  test(`a shim that is killed takes its container along, ${more[0] ?? 'with root inside'}`, options, async () => {
    await using container = new Container({ args: ['sleep', '1000'], more });
    const peer = await container.attach();
    const { initPid } = peer.welcome;
    process.kill(container.shimPid, 'SIGKILL');
    await peer.until(() => peer.closed);
    await until(() => !existsSync(`/proc/${initPid}`), 'the end of init');
    assert.equal(existsSync(container.record), false);
    // The daemon clears away what nobody else is left to.
    unlinkSync(container.socket);
  });

test('the end with nobody connected: everything is in record and log', options, async () => {
  await using container = new Container({ args: ['sh', '-c', 'seq 1 1000; sleep 0.2; exit 3'] });
  const peer = await container.attach();
  await peer.untilOutput('1000\n');
  await peer.end();
  const record = await container.exitRecord();
  assert.equal(record.code, 3);
  assert.equal(record.offset, '3893');
  await until(() => !existsSync(container.socket), 'the end of the shim');
  assert.equal(logBytes(readLog(container.log)).toString(), Array.from({ length: 1000 }, (_, i) => `${i + 1}\n`).join(''));
  assert.deepEqual(container.leftovers(), []);
});

test('a program that ends before the daemon connects: its output and end wait', options, async () => {
  await using container = new Container({ args: ['echo', 'quick'], log: false });
  assert.equal((await container.start()).ok, true);
  await container.exitRecord();
  const peer = await container.connect();
  assert.equal(peer.welcome.state, 2);
  peer.subscribe(0);
  await peer.untilOutput('quick');
  await peer.exit();
  await peer.leave();
});

/** The record where it belongs cannot be written, as on a full disk; nor, with `all`, the one in the state directory. */
const block = (container: Container, all: boolean): string[] => {
  const blocks = [container.record, ...(all ? [container.spareRecord] : [])].map((path) => `${path}.tmp`);
  for (const path of blocks) mkdirSync(path);
  return blocks;
};

test('a record that the root directory does not take is kept in the state directory: EXIT does not wait', options, async () => {
  await using container = new Container({ args: ['sh', '-c', 'read -r go; exit 9'], stdin: true });
  block(container, false);
  const peer = await container.attach();
  peer.stdin('go\n');
  assert.equal((await peer.exit()).code, 9);
  const record = JSON.parse(readFileSync(container.spareRecord, 'utf8')) as ExitRecord;
  assert.deepEqual([record.kind, record.code, record.drained], ['exited', 9, true]);
  assert.equal(existsSync(container.record), false);
  assert.equal((await peer.request(LEAVE)).errno, 0);
  await peer.end();
  await until(() => container.leftovers().length === 0, `nothing left, but ${container.leftovers().join(' ')}`);
});

test('a record that nothing takes: a connected daemon is told all the same, and the record comes later', options, async () => {
  await using container = new Container({ args: ['sh', '-c', 'read -r go; exit 9'], stdin: true });
  const blocks = block(container, true);
  const peer = await container.attach();
  peer.stdin('go\n');
  assert.equal((await peer.exit()).code, 9);
  assert.equal((await peer.request(LEAVE)).errno, EBUSY, 'the shim has its record to write yet');
  await peer.end();
  for (const path of blocks) rmdirSync(path);
  assert.equal((await container.exitRecord()).code, 9);
  assert.equal(existsSync(container.spareRecord), false);
  await until(() => container.leftovers().length === 0, `nothing left, but ${container.leftovers().join(' ')}`);
});

test('a record that cannot be written at first says in the end what was true: output was cut off', options, async () => {
  await using container = new Container({ args: ['sh', '-c', 'echo begun; read -r go; exit 9'], stdin: true, drainMs: 300 });
  const blocks = block(container, true);
  const peer = await container.attach();
  await peer.untilOutput('begun');
  // Somebody outside of the container has its output open and does not end: the drain time ends the wait.
  const held = openSync(`/proc/${peer.welcome.initPid}/fd/1`, 'w');
  try {
    peer.stdin('go\n');
    await sleep(1500);
    assert.equal(existsSync(container.record), false);
    for (const path of blocks) rmdirSync(path);
    const record = await container.exitRecord();
    assert.deepEqual([record.code, record.drained], [9, false]);
    assert.equal((await peer.exit()).drained, 0);
    await peer.leave();
  } finally {
    closeSync(held);
  }
});

test('processes that init leaves behind are killed (shared pid namespace)', options, async () => {
  using pause = new Pause();
  await using container = new Container({
    args: ['sh', '-c', 'sleep 1000 & (sleep 1000 &) ; echo left; exit 5'],
    lxc: [pause.lxc],
  });
  const peer = await container.attach();
  const exit = await peer.exit();
  assert.deepEqual([exit.code, exit.drained], [5, 1]);
  await peer.leave();
  await until(() => container.leftovers().length === 0, `nothing left, but ${container.leftovers().join(' ')}`);
});

test('the starter is killed before the container runs: no container', options, async () => {
  await using container = new Container({
    args: ['sleep', '1000'],
    // Until it is removed: LXC does not get any further.
    before: (c) => writeFileSync(join(c.dir, 'hook'), '#!/bin/sh\nwhile [ -e "$0" ]; do sleep 0.05; done\n'),
  });
  chmodSync(join(container.dir, 'hook'), 0o755);
  writeFileSync(
    container.lxcConfig,
    `${readFileSync(container.lxcConfig, 'utf8')}lxc.hook.pre-start = ${join(container.dir, 'hook')}\n`,
  );
  const { spawn } = await import('node:child_process');
  const child = spawn(container.shim, ['run'], { stdio: ['pipe', 'ignore', 'inherit'] });
  child.stdin.end(container.configuration());
  await until(() => existsSync(join(container.state, 'shim.pid')), 'the shim');
  const pid = container.shimPid;
  child.kill('SIGKILL');
  await until(() => !existsSync(`/proc/${pid}`), 'the end of the shim');
  assert.equal(existsSync(container.record), false);
  // It may have begun before LXC was killed, and is nobody's then.
  unlinkSync(join(container.dir, 'hook'));
  await until(() => container.leftovers().length === 0, `nothing left, but ${container.leftovers().join(' ')}`);
});

test('a start whose caller has gone is given up, whether it read from a pipe or a socket', options, async () => {
  for (const reader of ['a pipe', 'a socket']) {
    await using container = new Container({ args: ['true'] });
    const [slow, there] = [join(container.dir, 'lxc-start'), join(container.dir, 'there')];
    writeFileSync(slow, `#!/bin/sh\n: >${there}\nexec sleep 1000\n`, { mode: 0o755 });
    const configuration = container.configuration().replace(/lxc-start=[^\0]*/, `lxc-start=${slow}`);
    const [command, args] =
      reader === 'a socket' ? [SHIM, ['run']] : ['sh', ['-c', `${SHIM} run | until [ -e ${there} ]; do sleep 0.01; done`]];
    const caller = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    caller.stdin.end(configuration);
    await until(() => existsSync(there), 'the start is under way');
    const processes = [container.shimPid, container.monitorPid];
    caller.stdout.destroy();
    await until(() => caller.exitCode !== null, `the end of the start by ${reader}`);
    await until(() => processes.every((pid) => !existsSync(`/proc/${pid}/exe`)), 'nothing of it goes on');
    await until(() => container.leftovers().length === 0, `nothing left, but ${container.leftovers().join(' ')}`);
  }
});
