/** The shim's other faces: pods, pause, overlay, the OOM hook. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Container, Pause, SHIM, SKIP, until } from './support/container.ts';

const options = { skip: SKIP };

function withDirectory(body: (dir: string) => void): void {
  const dir = mkdtempSync(join(tmpdir(), 'berth-pod-'));
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', dir]);
  execFileSync('mount', ['--make-private', dir]);
  try {
    body(dir);
  } finally {
    execFileSync('umount', ['-R', '-l', dir]);
    rmSync(dir, { recursive: true });
  }
}

test('pod: namespaces without a process, hostname, loopback, sysctls', options, () => {
  withDirectory((dir) => {
    const sysctls = ['--sysctl', 'net.ipv4.ip_forward=1', '--sysctl', 'kernel.shm_rmid_forced=1'];
    execFileSync(SHIM, ['pod', '--dir', dir, '--net', '--ipc', '--uts', '--hostname', 'pod-a', '--lo', ...sysctls]);
    const inside = (...command: string[]): string =>
      execFileSync('nsenter', [`--net=${dir}/net`, `--ipc=${dir}/ipc`, `--uts=${dir}/uts`, ...command], { encoding: 'utf8' });
    assert.equal(inside('hostname').trim(), 'pod-a');
    assert.match(inside('ip', 'link', 'show', 'lo'), /LOOPBACK,UP/);
    assert.equal(inside('cat', '/proc/sys/net/ipv4/ip_forward', '/proc/sys/kernel/shm_rmid_forced'), '1\n1\n');
    assert.notEqual(execFileSync('hostname', { encoding: 'utf8' }).trim(), 'pod-a');
    assert.notEqual(inside('readlink', '/proc/self/ns/net').trim(), readlinkSync('/proc/self/ns/net'));
  });
});

test('pod: what is wrong leaves nothing pinned', options, () => {
  const bad = [
    ['--net', '--sysctl', '../../etc/passwd=x'],
    ['--net', '--sysctl', 'net..ipv4=1'],
    ['--net', '--sysctl', 'net/ipv4/../../kernel/x=1'],
    ['--net', '--sysctl', 'net.no.such=1'],
    ['--net', '--sysctl', 'novalue'],
    ['--lo'],
    ['--hostname', 'x'],
    ['--what'],
  ];
  withDirectory((dir) => {
    for (const extra of bad) {
      const { status, stderr } = spawnSync(SHIM, ['pod', '--dir', dir, ...extra], { encoding: 'utf8' });
      assert.notEqual(status, 0, extra.join(' '));
      assert.match(stderr, /^berth-shim: .*\n$/);
      assert.equal(existsSync(`${dir}/net`), false);
    }
  });
});

test('pause: a pid namespace whose first process reaps, tiny, and goes with SIGKILL', options, async () => {
  using pause = new Pause('--uts', '--hostname', 'pod-b');
  // The reaper, this shell, one for the pipe, ls and wc: no zombies.
  const fewLeft = 'until n=$(ls -d /proc/[0-9]* | wc -l); [ $n -le 5 ]; do sleep 0.1; done';
  await using container = new Container({
    args: ['sh', '-c', `echo $$; (sh -c "sleep 0.1 & " &); sleep 0.5; ${fewLeft}; echo $n; hostname`],
    lxc: [pause.lxc, `lxc.namespace.share.uts = ${pause.dir}/uts`],
  });
  const peer = await container.attach();
  await peer.exit();
  const [pid, count, hostname] = peer
    .text()
    .trim()
    .split('\n')
    .map((line) => line.trim());
  assert.ok(Number(pid) > 1);
  assert.ok(Number(count) <= 5, `${count} processes`);
  assert.equal(hostname, 'pod-b');
  await peer.leave();
  const smaps = readFileSync(`/proc/${pause.pid}/smaps_rollup`, 'utf8');
  assert.ok(Number(/Anonymous:\s+(\d+)/.exec(smaps)?.[1]) < 100);
  // One container's end is not the other's.
  await using next = new Container({ args: ['true'], lxc: [pause.lxc] });
  const again = await next.attach();
  assert.equal((await again.exit()).code, 0);
  await again.leave();
});

test("pause: memory's shortage takes it as late as a shim, where the host allows that", options, () => {
  using pause = new Pause();
  const score = 'echo -998 2>/dev/null >/proc/self/oom_score_adj; cat /proc/self/oom_score_adj';
  const possible = execFileSync('/bin/sh', ['-c', score], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  assert.equal(readFileSync(`/proc/${pause.pid}/oom_score_adj`, 'utf8'), possible);
  // It cannot tell where the host allows nothing: so with a file in the place of the kernel's, which is all that this /proc has.
  withDirectory((dir) => {
    const script =
      'mount -t tmpfs proc /proc && mkdir /proc/self && echo 0 >/proc/self/oom_score_adj || exit; "$1" pause --dir "$2" 2>/dev/null; read score </proc/self/oom_score_adj; echo $score';
    assert.equal(execFileSync('unshare', ['-m', '/bin/sh', '-c', script, 'sh', SHIM, dir], { encoding: 'utf8' }), '-998\n');
  });
});

test('overlay: layers by short names', options, () => {
  withDirectory((dir) => {
    for (const name of ['a', 'b', 'up', 'work', 'merged']) mkdirSync(join(dir, name));
    writeFileSync(join(dir, 'a', 'one'), '1');
    writeFileSync(join(dir, 'b', 'two'), '2');
    execFileSync(SHIM, [
      'overlay',
      '--target',
      join(dir, 'merged'),
      '--data',
      `lowerdir=a:b,upperdir=${dir}/up,workdir=${dir}/work`,
      '--cwd',
      dir,
    ]);
    assert.equal(readFileSync(join(dir, 'merged', 'one'), 'utf8') + readFileSync(join(dir, 'merged', 'two'), 'utf8'), '12');
    const { status, stderr } = spawnSync(SHIM, ['overlay', '--target', join(dir, 'none'), '--data', 'lowerdir=a'], {
      encoding: 'utf8',
    });
    assert.equal(status, 1);
    assert.match(stderr, /berth-shim: /);
  });
});

test('oom-hook: v1 and v2 counters', options, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'berth-oom-'));
  const cases = {
    'oom_kill_disable 0\nunder_oom 0\noom_kill 3\n': '3\n',
    'low 0\noom 2\noom_kill 1\noom_group_kill 0\n': '1\n',
    '': '0\n',
  };
  for (const [text, expected] of Object.entries(cases)) {
    writeFileSync(join(dir, 'src'), text);
    execFileSync(SHIM, ['oom-hook', join(dir, 'src'), join(dir, 'dst'), 'name', 'lxc', 'stop']);
    assert.equal(readFileSync(join(dir, 'dst'), 'utf8'), expected);
  }
  rmSync(dir, { recursive: true });
  await until(() => true, '');
  assert.match(execFileSync(SHIM, ['version'], { encoding: 'utf8' }), /^berth-shim \d+\.\d+\.\d+, protocol 1\n$/);
});
