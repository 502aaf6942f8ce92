/** Programs besides init: joined to the container, supervised by a fork of the shim, gone with their connection. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Container, SKIP, UNIFIED, until } from './support/container.ts';
import { frame, Peer, u32 } from './support/peer.ts';

const options = { skip: SKIP };
/** STATUS_* of shim.h. */
const STEP = { notFound: 1, notExecutable: 2, cwd: 3, system: 4, seccomp: 5, terminal: 6 };

const running = async (): Promise<Container> => {
  const container = new Container({ args: ['sleep', '1000'], log: false });
  const started = await container.start();
  assert.ok(started.ok, started.line);
  await container.connect();
  return container;
};

/** Everything that it writes, and how it ends. */
const whole = async (peer: Peer): Promise<{ out: string; err: string; code: number; signal: number; drained: number }> => {
  peer.subscribe(0);
  peer.fromStart = true;
  const { code, signal, drained } = await peer.exit();
  return { out: peer.text(1), err: peer.text(2), code, signal, drained };
};

/** Processes of the container and supervisors of its programs, zombies included. */
const processes = (container: Container): string[] => {
  const found: string[] = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
      const inside = readFileSync(`/proc/${pid}/cgroup`, 'latin1').includes(`/${container.id}\n`);
      const ours = stat.includes('(berth-exec)') && Number(stat.split(') ')[1]?.split(' ')[1]) === container.shimPid;
      if (inside || ours) found.push(stat.slice(0, 80));
    } catch {
      // It ended while we looked.
    }
  }
  return found;
};

/** When every connection has ended, and with it the supervisors that keep their program's end for it. */
const onlyInit = async (container: Container): Promise<void> => {
  for (const peer of container.peers) await peer.end();
  await until(() => processes(container).length === 1, `nothing but init, not ${processes(container).join('; ')}`);
};

test('streams apart, exact status, arguments and environment; inside the namespaces and cgroups', options, async () => {
  await using container = await running();
  const script = 'echo "$1" "$X"; echo err >&2; pwd; readlink /proc/1/exe; exit 3';
  const said = await whole(await container.exec(['sh', '-c', script, 'sh', 'a b\n'], 'env=X=y z', 'cwd=/tmp'));
  assert.deepEqual(said, { out: 'a b\n y z\n/tmp\n/bin/busybox\n', err: 'err\n', code: 3, signal: 0, drained: 1 });
  const group = await whole(await container.exec(['sh', '-c', 'kill -9 $$']));
  assert.deepEqual([group.code, group.signal], [137, 9]);
  const peer = await container.exec(['sleep', '1000']);
  const cgroup = readFileSync(`/proc/${peer.welcome.initPid}/cgroup`, 'utf8').trim().split('\n');
  assert.ok(
    cgroup.every((line) => line.endsWith(`/${container.id}`)),
    cgroup.join(),
  );
  for (const name of ['mnt', 'pid', 'net', 'ipc', 'uts', 'cgroup'])
    assert.equal(inode(peer.welcome.initPid, name), inode((await container.connect()).welcome.initPid, name), name);
  await peer.end();
  await onlyInit(container);
});

test('an init that has gone into a cgroup of its own and shares controllers out (cgroup v2)', options, async (t) => {
  if (!UNIFIED) return t.skip('limits are set through cgroup v1 here');
  const script =
    'cd /sys/fs/cgroup && mkdir init.scope && echo 1 > init.scope/cgroup.procs && echo +memory > cgroup.subtree_control; echo ready';
  await using container = new Container({
    args: ['sh', '-c', `exec 2>&1; ${script}; exec sleep 1000`],
    log: false,
    lxc: ['lxc.mount.auto = cgroup:rw:force', 'lxc.apparmor.profile = unconfined'],
  });
  const init = await container.attach();
  await init.untilOutput('ready');
  const peer = await container.exec(['cat', '/proc/self/cgroup']);
  const said = await whole(peer);
  assert.deepEqual([said.out, said.code], ['0::/init.scope\n', 0]);
  const lasting = await container.exec(['sleep', '1000']);
  await lasting.end();
  await until(
    () => readFileSync(`${container.cgroups[0]}/init.scope/cgroup.procs`, 'utf8').trim().split('\n').length === 1,
    'nothing but init',
  );
});

const inode = (pid: number, name: string): string => readlinkSync(`/proc/${pid}/ns/${name}`);

test('identity: user, groups, capabilities, no_new_privs, limits', options, async () => {
  await using container = await running();
  const settings = [
    'uid=1234',
    'gid=1234',
    'group=7',
    'capabilities=0000000000000421',
    'no-new-privs=1',
    'nofile-soft=100',
    'nofile-hard=200',
  ];
  const script =
    'id -u; id -G; grep -E "NoNewPrivs|Cap(Inh|Prm|Eff|Bnd|Amb)" /proc/self/status; ulimit -n; ls /proc/self/fd | wc -l; echo x > /dev/stdout';
  const { out } = await whole(await container.exec(['sh', '-c', script], ...settings));
  assert.equal(
    out,
    `1234\n1234 7\nCapInh:\t${'0'.repeat(16)}\nCapPrm:\t${'0'.repeat(16)}\nCapEff:\t${'0'.repeat(16)}\nCapBnd:\t0000000000000421\n` +
      `CapAmb:\t${'0'.repeat(16)}\nNoNewPrivs:\t1\n100\n4\nx\n`,
  );
});

test('16 MiB through stdin and back, exact; the end of stdin is an end of file', options, async () => {
  await using container = await running();
  const data = randomBytes(16 * 1024 * 1024);
  const peer = await container.exec(['cat'], 'stdin=1');
  const hash = createHash('sha256');
  peer.sink = (_stream, _offset, bytes) => void hash.update(bytes);
  peer.subscribe(0);
  for (let at = 0; at < data.length; ) {
    await peer.until(() => peer.credit - at >= 65_536);
    peer.stdin(data.subarray(at, at + 65_536));
    at += 65_536;
  }
  peer.closeStdin();
  const exit = await peer.exit();
  assert.deepEqual([exit.code, exit.offset], [0, data.length]);
  assert.equal(hash.digest('hex'), createHash('sha256').update(data).digest('hex'));
});

test('what it writes waits for a subscriber, and for a slow one: nothing is lost', options, async () => {
  await using container = await running();
  const peer = await container.exec(['sh', '-c', 'dd if=/dev/zero bs=64k count=64 2>/dev/null; exit 5']);
  await sleep(300);
  assert.equal(peer.has(0x87), false, 'it cannot have ended: its output is larger than any buffer');
  let seen = 0;
  peer.acks = false;
  peer.sink = (_stream, offset, bytes) => {
    assert.equal(offset, seen);
    seen += bytes.length;
    const upTo = seen;
    setTimeout(() => peer.ack(upTo), 5);
  };
  peer.subscribe(0, 128 * 1024);
  const exit = await peer.exit();
  assert.deepEqual([exit.code, exit.offset, seen, peer.gaps.length], [5, 64 * 65_536, 64 * 65_536, 0]);
  const small = await container.exec(['sh', '-c', 'printf out; printf err >&2']);
  await sleep(2500);
  assert.deepEqual(await whole(small), { out: 'out', err: 'err', code: 0, signal: 0, drained: 1 });
});

test('what cannot be started says why and leaves nothing', options, async () => {
  await using container = await running();
  const failure = async (command: string[], ...more: string[]) => (await container.tryExec(command, ...more).failure()).step;
  assert.equal(await failure(['nowhere']), STEP.notFound);
  assert.equal(await failure(['/etc/passwd']), STEP.notExecutable);
  assert.equal(await failure(['true'], 'cwd=/nowhere'), STEP.cwd);
  assert.equal(await failure(['true'], 'seccomp=/nowhere'), STEP.system);
  assert.equal(await failure(['true'], `seccomp=${container.lxcConfig}`), STEP.seccomp);
  assert.equal(await failure(['true'], 'unknown=1'), STEP.system);
  assert.equal(await failure([]), STEP.system);
  await onlyInit(container);
});

test('a terminal of its own: name, size, control characters, resize, hang-up', options, async () => {
  await using container = await running();
  const peer = await container.exec(
    ['sh', '-c', 'tty; stty size; trap "stty size" WINCH; cat'],
    'tty=1',
    'stdin=1',
    'rows=33',
    'cols=111',
  );
  peer.subscribe(0);
  await peer.untilOutput(/^\/dev\/pts\/\d+\r\n33 111\r\n/);
  peer.stdin('abc\r');
  await peer.untilOutput('abc\r\nabc\r\n');
  peer.stdin('\x03');
  assert.equal((await peer.exit()).signal, 2);
  await peer.leave();
  const second = await container.exec(['sh', '-c', 'trap "" HUP; sleep 1000'], 'tty=1', 'stdin=1');
  await second.end();
  await onlyInit(container);
});

test('with its connection goes its whole session, and nothing else', options, async () => {
  await using container = await running();
  const script = 'sleep 1001 & (sleep 1002 &) ; setsid sleep 1003 & sleep 1004; true';
  const peer = await container.exec(['sh', '-c', script]);
  await until(
    () => processes(container).length === 7,
    `four of sleep, a shell, init and a supervisor, not ${processes(container).join(' | ')}`,
  );
  await peer.end();
  await until(
    () => processes(container).filter((stat) => !stat.includes(') Z ')).length === 2,
    'init and the one in a session of its own',
  );
  const two = await container.exec(['sh', '-c', 'sleep 1001 & sleep 1002']);
  two.subscribe(0);
  assert.equal((await two.signal(9, true)).errno, 0);
  assert.equal((await two.exit()).signal, 9);
});

test('a program that is left behind holds nobody up for ever', options, async () => {
  await using container = await running();
  const began = Date.now();
  const said = await whole(await container.exec(['sh', '-c', 'sleep 1000 & echo done'], 'drain-ms=500'));
  assert.deepEqual(said, { out: 'done\n', err: '', code: 0, signal: 0, drained: 0 });
  assert.ok(Date.now() - began < 30_000);
});

test("a supervisor holds no copy of the container's output that has been overwritten since", options, async () => {
  const lump = 1_000_000;
  await using container = new Container({
    args: ['sh', '-c', `while read -r go; do head -c ${lump} /dev/zero; done`],
    stdin: true,
  });
  const init = await container.attach();
  init.sink = () => undefined;
  const writeLump = async (number: number): Promise<void> => {
    init.stdin('go\n');
    await init.until(() => init.next === number * lump);
  };
  // What the shim uses for output and input is in memory when the fork is made.
  await writeLump(1);
  const peer = await container.exec(['sleep', '1000']);
  const before = privateBytes(peer.welcome.shimPid);
  await writeLump(2);
  const grown = privateBytes(peer.welcome.shimPid) - before;
  assert.ok(grown < 64 * 1024, `${grown} bytes more are its own`);
});

/** Memory that a process shares with nobody. */
const privateBytes = (pid: number): number =>
  1024 * Number(/^Private_Dirty:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]);

test('many at once, and one after another, leave nothing', options, async () => {
  await using container = await running();
  const ends = await Promise.all(
    Array.from({ length: 64 }, async (_, i) => await whole(await container.exec(['sh', '-c', `echo ${i}; exit ${i}`]))),
  );
  ends.forEach((end, i) => assert.deepEqual([end.out, end.code], [`${i}\n`, i]));
  await onlyInit(container);
});

test('the container ends: so do its programs, and they say how', options, async () => {
  await using container = await running();
  const peer = await container.exec(['sleep', '1000']);
  peer.subscribe(0);
  await (await container.connect()).signal(9);
  assert.equal((await peer.exit()).signal, 9);
  assert.equal((await container.exitRecord()).signal, 9);
  const late = container.tryExec(['true']);
  await late.failure().catch(() => undefined);
  assert.equal(late.has(0x81), false);
});

test('a wrong secret, nonsense, half a request: refused, and the shim goes on', options, async () => {
  await using container = await running();
  const refused = async (bytes: Buffer): Promise<void> => {
    const peer = new Peer(container.socket);
    peer.socket.write(bytes);
    await peer.until(() => peer.closed, 'the end of the connection');
    assert.equal(peer.has(0x81), false);
  };
  const secret = Buffer.from(container.secret, 'hex');
  await refused(Buffer.concat([frame(0x0e, u32(1), randomBytes(32)), u32(8), Buffer.from('arg=true\0')]));
  await refused(frame(0x0e, u32(2), secret));
  await refused(Buffer.concat([frame(0x0e, u32(1), secret), u32(0)]));
  await refused(Buffer.concat([frame(0x0e, u32(1), secret), u32(0xffff_ffff)]));
  await refused(Buffer.concat([frame(0x0e, u32(1), secret), u32(16), randomBytes(16)]));
  for (let i = 0; i < 50; i++) await refused(Buffer.concat([frame(0x0e, u32(1), secret), u32(200), randomBytes(200)]));
  const half = new Peer(container.socket);
  half.socket.write(Buffer.concat([frame(0x0e, u32(1), secret), u32(100), Buffer.from('arg=tr')]));
  assert.deepEqual((await whole(await container.exec(['echo', 'still here']))).out, 'still here\n');
  await half.until(() => half.closed, 'the end of what stays half');
  await onlyInit(container);
});
