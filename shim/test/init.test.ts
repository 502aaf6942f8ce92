/** What init finds when it begins: argv, environment, descriptors, owner of its stdio. */
import assert from 'node:assert/strict';
import { chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Container, Filter, type Options, SKIP } from './support/container.ts';

const options = { skip: SKIP };

async function output(settings: Options): Promise<string> {
  await using container = new Container(settings);
  const peer = await container.attach();
  await peer.exit();
  await peer.leave();
  assert.equal(peer.text(2), '');
  return peer.text(1);
}

test('argv is exact', options, async () => {
  const args = [
    'sh',
    '-c',
    'cat /proc/$$/cmdline; true',
    '',
    'a b',
    '"quoted"',
    "it's",
    '$HOME',
    'new\nline',
    '\t',
    '--',
    '-x',
    '\xff\x01',
    'x'.repeat(100_000),
    '',
  ];
  // Latin-1 on both sides: every char is a byte only for ASCII, so the non-ASCII one is compared as UTF-8.
  const text = await output({ args });
  assert.equal(Buffer.from(text, 'latin1').toString('utf8'), args.map((arg) => `${arg}\0`).join(''));
});

test('the environment is exact: nothing added, nothing lost, in order', options, async () => {
  const env = [
    'PATH=/bin',
    'EMPTY=',
    'Q="x" \'y\'',
    'TRAILING=blank  ',
    'LINES=a\nb\n',
    'EQ=a=b=c',
    `BIG=${'y'.repeat(100_000)}`,
    'DUP=1',
    'DUP=2',
    '#=x',
  ];
  assert.equal(await output({ args: ['cat', '/proc/self/environ'], env }), env.map((entry) => `${entry}\0`).join(''));
  assert.equal(await output({ args: ['/bin/cat', '/proc/self/environ'], env: [] }), '');
});

test("PATH: the container's own, else the usual one", options, async () => {
  assert.equal(await output({ args: ['echo', 'found'], env: [] }), 'found\n');
  await using container = new Container({ args: ['echo'], env: ['PATH=/usr/bin:/nowhere'] });
  assert.equal((await container.start()).kind, 'notfound');
});

test('only 0, 1 and 2 are open', options, async () => {
  const text = await output({ args: ['ls', '/proc/self/fd'] });
  // 3 is the directory that ls reads.
  assert.equal(text, '0\n1\n2\n3\n');
});

test('working directory, signals, umask', options, async () => {
  assert.equal(await output({ args: ['sh', '-c', 'echo $PWD; cd /; umask'], cwd: '/usr/bin' }), '/usr/bin\n0022\n');
  const masks = await output({ args: ['grep', '-E', '^Sig(Blk|Ign)|^ShdPnd', '/proc/self/status'] });
  assert.match(masks, /SigBlk:\t0{16}\nSigIgn:\t0{16}\n/);
});

/** A directory that only its owner may enter. */
const closed =
  (uid: number): NonNullable<Options['before']> =>
  (container) => {
    mkdirSync(join(container.rootfs, 'closed'), { mode: 0o700 });
    chownSync(join(container.rootfs, 'closed'), uid, uid);
  };
/** A root of the container that has no more right than others to enter directories. */
const WITHOUT_OVERRIDE = ['lxc.cap.drop = dac_override dac_read_search'];

test('a working directory that the user may not enter is entered as root, by init and by others', options, async () => {
  const more = ['uid=1234', 'gid=1234'];
  await using container = new Container({
    args: ['sh', '-c', 'pwd; id -u; cat'],
    cwd: '/closed',
    before: closed(0),
    stdin: true,
    more,
  });
  const peer = await container.attach();
  await peer.untilOutput('/closed\n1234\n');
  const exec = await container.exec(['sh', '-c', 'pwd; id -u'], 'cwd=/closed', ...more);
  exec.subscribe(0);
  assert.equal((await exec.exit()).code, 0);
  assert.equal(exec.text(1), '/closed\n1234\n');
  peer.closeStdin();
  await peer.exit();
  await peer.leave();
});

test('a working directory that root may not enter is entered as the user; where neither may, that is said', options, async () => {
  const more = ['uid=1234', 'gid=1234'];
  const settings = { args: ['sh', '-c', 'pwd; id -u'], cwd: '/closed', more, lxc: WITHOUT_OVERRIDE };
  assert.equal(await output({ ...settings, before: closed(1234) }), '/closed\n1234\n');
  await using container = new Container({ ...settings, before: closed(4321) });
  const started = await container.start();
  assert.deepEqual([started.kind, started.text], ['cwd', '/closed: Permission denied']);
});

test('stdio belongs to init, whoever it is, and can be opened again', options, async () => {
  const script =
    'id -u; for i in 1 2; do stat -L -c "%u %g %a" /proc/self/fd/$i; done; echo again > /proc/self/fd/1; echo too > /dev/stdout; cat /dev/stdin';
  const more = ['uid=1234', 'gid=1234'];
  assert.equal(await output({ args: ['sh', '-c', script], more }), '1234\n1234 1234 600\n1234 1234 600\nagain\ntoo\n');
  assert.match(await output({ args: ['sh', '-c', script] }), /^0\n0 0 600\n/);
});

test('groups, capabilities, no_new_privs, limits', options, async () => {
  const script = 'id; grep -E "NoNewPrivs|Cap(Inh|Prm|Eff|Bnd|Amb)" /proc/self/status; ulimit -n; ulimit -Hn';
  const more = ['uid=1234', 'gid=1234', 'group=7', 'group=70000', 'capabilities=0000000000000421', 'no-new-privs=1'];
  const limits = ['nofile-soft=100', 'nofile-hard=200'];
  assert.equal(
    await output({ args: ['sh', '-c', script], more: [...more, ...limits] }),
    'uid=1234(user) gid=1234 groups=7,70000\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n' +
      'CapBnd:\t0000000000000421\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n100\n200\n',
  );
  const root = await output({ args: ['sh', '-c', script], more: ['capabilities=0000000000000421'] });
  assert.match(
    root,
    /^uid=0.*\nCapInh:\t0{16}\nCapPrm:\t0{13}421\nCapEff:\t0{13}421\nCapBnd:\t0{13}421\nCapAmb:\t0{16}\nNoNewPrivs:\t0\n/,
  );
});

test('a seccomp filter, of root and of a user, with and without no_new_privs', options, async () => {
  using filter = new Filter('2\ndenylist allow\n[all]\nmkdir errno 38\nmkdirat errno 38\n');
  const script = 'grep Seccomp: /proc/self/status; mkdir /tmp/d 2>/dev/null; echo $?';
  for (const more of [[], ['uid=1234'], ['no-new-privs=1'], ['uid=1234', 'no-new-privs=1', 'capabilities=0000000000000000']]) {
    assert.equal(
      await output({ args: ['sh', '-c', script], more: [...more, `seccomp=${filter.path}`] }),
      'Seccomp:\t2\n1\n',
      more.join(),
    );
  }
  await using missing = new Container({ args: ['true'], more: ['seccomp=/nowhere/filter'] });
  assert.equal((await missing.start()).ok, false);
});

test('what is no filter is refused, not taken for none', options, async () => {
  using filter = new Filter(undefined);
  await using container = new Container({ args: ['true'], more: [`seccomp=${filter.path}`] });
  const started = await container.start();
  assert.equal(started.kind, 'system');
  assert.match(started.text, /seccomp filter cannot be loaded/);
});
