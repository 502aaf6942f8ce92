/** What init finds when it begins: argv, environment, descriptors, owner of its stdio. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Container, type Options, SKIP } from './support/container.ts';

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

test('stdio belongs to init, whoever it is, and can be opened again', options, async () => {
  const script =
    'id -u; for i in 1 2; do stat -L -c "%u %g %a" /proc/self/fd/$i; done; echo again > /proc/self/fd/1; echo too > /dev/stdout; cat /dev/stdin';
  const user = ['lxc.init.uid = 1234', 'lxc.init.gid = 1234'];
  assert.equal(await output({ args: ['sh', '-c', script], lxc: user }), '1234\n1234 1234 600\n1234 1234 600\nagain\ntoo\n');
  assert.match(await output({ args: ['sh', '-c', script] }), /^0\n0 0 600\n/);
});

test('without capabilities, with no_new_privs and a seccomp filter', options, async () => {
  const script = 'grep -E "NoNewPrivs|CapEff" /proc/self/status';
  const text = await output({
    args: ['sh', '-c', script],
    lxc: ['lxc.no_new_privs = 1', 'lxc.cap.keep = none', 'lxc.init.uid = 1234', 'lxc.init.gid = 1234'],
  });
  assert.equal(text, 'CapEff:\t0000000000000000\nNoNewPrivs:\t1\n');
});
