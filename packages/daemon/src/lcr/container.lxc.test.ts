/** Real containers: what init sees of itself, looked at from inside. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JsonObject } from '@bufbuild/protobuf';
import type { PodSpec } from '../runtime/runtime.ts';
import { BerthError } from '../util/errors.ts';
import { readHostFacts } from './host-facts.ts';
import { LxcFixture } from './lxc-fixture.ts';

const base64 = (bytes: string | Buffer): string => Buffer.from(bytes).toString('base64');

describe('a container', { timeout: 300_000 }, () => {
  let fixture: LxcFixture;
  let pod: PodSpec;
  let users: string;
  before(async () => {
    fixture = await LxcFixture.open();
    pod = await fixture.pod({ hostname: 'web-1' });
    users = `${fixture.top}/users`;
    mkdirSync(`${users}/etc`, { recursive: true });
    writeFileSync(`${users}/etc/passwd`, 'root:x:0:0::/root:/bin/sh\napp:x:1000:2000::/home/app:/bin/sh\n');
    writeFileSync(`${users}/etc/group`, 'root:x:0:\nextra:x:3000:app\nother:x:4000:someone\n');
  });
  after(() => fixture.close());

  const userImage = (user: string) => fixture.image({ user }, [users, fixture.layer]);
  const context = (securityContext: object) => ({
    linux: { securityContext: JSON.parse(JSON.stringify(securityContext)) as JsonObject },
  });

  test('has the pod hostname, by uname and by file', async () => {
    const done = await fixture.run(pod, 'hostname; cat /etc/hostname; echo $HOSTNAME; grep -c web-1 /etc/hosts');
    assert.equal(done.stdout, 'web-1\nweb-1\nweb-1\n1\n');
  });

  test('stdout and stderr are apart, nothing of LXC is in them', async () => {
    const done = await fixture.run(pod, 'echo out; echo err >&2');
    assert.deepEqual([done.stdout, done.stderr, done.code], ['out\n', 'err\n', 0]);
  });

  test('has exactly the environment of image and request, the later one winning', async () => {
    const done = await fixture.run(
      pod,
      '',
      {
        command: ['/bin/env'],
        envs: [
          { key: 'B', value: base64('from request') },
          { key: 'EMPTY', value: '' },
          { key: 'QUOTES', value: base64('a "b" \'c\' $d = #e  ') },
        ],
      },
      fixture.image({ env: ['A=from image', 'B=from image', 'PATH=/bin:/sbin'] }),
    );
    assert.equal(
      done.stdout,
      `PATH=/bin:/sbin\nHOSTNAME=web-1\nA=from image\nB=from request\nEMPTY=\nQUOTES=a "b" 'c' $d = #e  \nHOME=/\n`,
    );
  });

  test('has exactly the arguments, empty ones and newlines too', async () => {
    const done = await fixture.run(pod, '', {
      command: ['/bin/sh', '-c', 'for a in "$@"; do echo "[$a]"; done', 'sh'],
      args: ['', 'a b', '"q"', 'two\nlines', '$HOME'],
    });
    assert.equal(done.stdout, '[]\n[a b]\n["q"]\n[two\nlines]\n[$HOME]\n');
  });

  test('takes entrypoint and cmd of the image, replaced by command and args', async () => {
    const image = fixture.image({ entrypoint: ['/bin/echo', 'entry'], cmd: ['cmd'] });
    assert.equal((await fixture.run(pod, '', { command: [] }, image)).stdout, 'entry cmd\n');
    assert.equal((await fixture.run(pod, '', { command: [], args: ['x'] }, image)).stdout, 'entry x\n');
    assert.equal((await fixture.run(pod, '', { command: ['/bin/echo', 'own'] }, image)).stdout, 'own\n');
    await assert.rejects(
      fixture.create(pod, { command: [] }, fixture.image({ cmd: [] })),
      (error: unknown) => error instanceof BerthError && error.kind === 'invalid-argument',
    );
  });

  test('begins in the working directory, which is made when it is missing', async () => {
    assert.equal((await fixture.run(pod, 'pwd', { workingDir: '/made/here' })).stdout, '/made/here\n');
    assert.equal((await fixture.run(pod, 'pwd', {}, fixture.image({ workingDir: '/tmp' }))).stdout, '/tmp\n');
  });

  test('begins in a working directory of the image that its user may not enter', async () => {
    const layer = `${fixture.top}/closed`;
    mkdirSync(`${layer}/app`, { recursive: true });
    chmodSync(`${layer}/app`, 0o700);
    const image = fixture.image({ workingDir: '/app' }, [layer, fixture.layer]);
    const done = await fixture.run(pod, 'pwd; id -u; ls', context({ runAsUser: { value: '1000' } }), image);
    assert.equal(done.stdout, '/app\n1000\n');
    assert.match(done.stderr, /Permission denied/);
  });

  test('runs as the user of image or request, with its groups', async () => {
    const id = 'id -u; id -g; id -G; echo $HOME';
    assert.equal((await fixture.run(pod, id, {}, userImage('app'))).stdout, '1000\n2000\n2000 3000\n/home/app\n');
    assert.equal((await fixture.run(pod, id, {}, userImage('app:4000'))).stdout, '1000\n4000\n4000 3000\n/home/app\n');
    assert.equal((await fixture.run(pod, id, {}, userImage('1234'))).stdout, '1234\n0\n0\n/\n');
    assert.equal(
      (await fixture.run(pod, id, context({ runAsUsername: 'app' }), userImage(''))).stdout,
      '1000\n2000\n2000 3000\n/home/app\n',
    );
    const both = context({ runAsUser: { value: '1000' }, runAsGroup: { value: '7' }, supplementalGroups: ['8', '9'] });
    assert.equal((await fixture.run(pod, id, both, userImage(''))).stdout, '1000\n7\n7 8 9 3000\n/home/app\n');
    const strict = context({ runAsUser: { value: '1000' }, supplementalGroups: ['8'], supplementalGroupsPolicy: 'Strict' });
    assert.equal((await fixture.run(pod, id, strict, userImage(''))).stdout, '1000\n2000\n2000 8\n/home/app\n');
  });

  test('CreateContainer tells who init will be and which signal stops it', async () => {
    const spec = fixture.spec(pod, {
      command: ['/bin/true'],
      stopSignal: 'SIGRTMINPLUS3',
      ...context({ runAsUser: { value: '5' } }),
    });
    const created = await fixture.runtime.createContainer(spec);
    await fixture.runtime.removeContainer(spec);
    assert.deepEqual(created.user, { uid: 5, gid: 0, groups: [0] });
    assert.equal(created.stopSignal, 37);
    assert.equal(created.logPath, `${pod.config.logDirectory}/${spec.config.logPath}`);
  });

  test('a user without root has no capability', async () => {
    const done = await fixture.run(pod, 'grep -E "Cap(Prm|Eff|Amb)" /proc/self/status', context({ runAsUser: { value: '1000' } }));
    assert.match(done.stdout, /^CapPrm:\t0{16}\nCapEff:\t0{16}\nCapAmb:\t0{16}\n$/);
  });

  test('root has the default capabilities; add, drop and ALL change them', async () => {
    const show = 'grep -E "Cap(Eff|Bnd)" /proc/self/status | cut -f2 | uniq';
    const own = async (capabilities: object) => (await fixture.run(pod, show, context({ capabilities }))).stdout.trim();
    assert.equal(await own({}), '00000000a80425fb');
    assert.equal(await own({ addCapabilities: ['NET_ADMIN', 'CAP_SYS_TIME'] }), '00000000aa0435fb');
    assert.equal(await own({ dropCapabilities: ['CHOWN', 'kill'] }), '00000000a80425da');
    assert.equal(await own({ dropCapabilities: ['ALL'] }), '0000000000000000');
    assert.equal(await own({ dropCapabilities: ['ALL'], addCapabilities: ['NET_BIND_SERVICE'] }), '0000000000000400');
    const mine = (
      await fixture.run(
        await fixture.pod({ linux: { securityContext: { privileged: true, namespaceOptions: { pid: 'CONTAINER' } } } }),
        show,
        context({ privileged: true }),
      )
    ).stdout.trim();
    assert.equal(await own({ addCapabilities: ['ALL'] }), mine);
  });

  test('no_new_privs, and the default without', async () => {
    assert.equal(
      (await fixture.run(pod, 'grep NoNewPrivs /proc/self/status', context({ noNewPrivs: true }))).stdout,
      'NoNewPrivs:\t1\n',
    );
    assert.equal((await fixture.run(pod, 'grep NoNewPrivs /proc/self/status')).stdout, 'NoNewPrivs:\t0\n');
  });

  test('the default seccomp profile lets programs work and refuses what it should', async () => {
    const script =
      'grep Seccomp: /proc/self/status; mount -t tmpfs x /tmp 2>&1; hostname x 2>&1; unshare -n true 2>&1; echo a | cat; (sleep 0 & wait); echo done';
    const done = await fixture.run(
      pod,
      script,
      context({ seccomp: { profileType: 'RuntimeDefault' }, capabilities: { addCapabilities: [] } }),
    );
    assert.equal(
      done.stdout,
      'Seccomp:\t2\nmount: permission denied (are you root?)\nhostname: sethostname: Operation not permitted\nunshare: unshare(0x40000000): Operation not permitted\na\ndone\n',
    );
  });

  test('unconfined and unset seccomp', async () => {
    assert.equal(
      (await fixture.run(pod, 'grep Seccomp: /proc/self/status', context({ seccomp: { profileType: 'Unconfined' } }))).stdout,
      'Seccomp:\t0\n',
    );
    assert.equal((await fixture.run(pod, 'grep Seccomp: /proc/self/status')).stdout, 'Seccomp:\t0\n');
  });

  test('a seccomp profile of the host', async () => {
    const path = `${fixture.top}/profile.json`;
    writeFileSync(
      path,
      JSON.stringify({
        defaultAction: 'SCMP_ACT_ALLOW',
        syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 28 }],
      }),
    );
    const done = await fixture.run(
      pod,
      'mkdir /tmp/x 2>&1; touch /tmp/y && echo fine',
      context({ seccomp: { profileType: 'Localhost', localhostRef: path } }),
    );
    assert.equal(done.stdout, "mkdir: can't create directory '/tmp/x': No space left on device\nfine\n");
  });

  test('a seccomp profile that only logs, and one that kills the whole process', async () => {
    const with_ = async (name: string, profile: object, script: string) => {
      const path = `${fixture.top}/${name}.json`;
      writeFileSync(path, JSON.stringify(profile));
      return fixture.run(pod, script, context({ seccomp: { profileType: 'Localhost', localhostRef: path } }));
    };
    // The profile of Kubernetes' tutorial, to the letter.
    const audit = await with_(
      'audit',
      { defaultAction: 'SCMP_ACT_LOG' },
      'grep Seccomp: /proc/self/status; mkdir /tmp/x && echo made',
    );
    assert.equal(audit.stdout, 'Seccomp:\t2\nmade\n');
    const kill = {
      defaultAction: 'SCMP_ACT_LOG',
      syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_KILL_PROCESS' }],
    };
    // 128 and SIGSYS.
    assert.equal((await with_('kill', kill, 'mkdir /tmp/x; echo $?; touch /tmp/y && echo fine')).stdout, '159\nfine\n');
  });

  test('a root file system that is read-only, and one that is not', async () => {
    assert.equal(
      (await fixture.run(pod, 'touch /x 2>&1; touch /dev/shm/y && echo fine', context({ readonlyRootfs: true }))).stdout,
      'touch: /x: Read-only file system\nfine\n',
    );
    assert.equal((await fixture.run(pod, 'touch /x && ls /x')).stdout, '/x\n');
  });

  test('one container does not see what another wrote into the same image', async () => {
    await fixture.run(pod, 'echo secret > /etc/left');
    assert.equal((await fixture.run(pod, 'cat /etc/left 2>&1')).stdout, "cat: can't open '/etc/left': No such file or directory\n");
  });

  test('masked and read-only paths, by default and by request', async () => {
    const done = await fixture.run(pod, 'wc -c < /proc/keys; ls /sys/firmware | wc -l; (echo 1 > /proc/sys/kernel/shmmax) 2>&1');
    assert.equal(done.stdout, "0\n0\n/bin/sh: can't create /proc/sys/kernel/shmmax: Read-only file system\n");
    const own = await fixture.run(
      pod,
      'wc -c < /etc/hidden; ls /var | wc -l; (echo > /run/x) 2>&1; echo $(wc -c < /proc/keys)',
      {
        ...context({ maskedPaths: ['/etc/hidden', '/var', '/no/such'], readonlyPaths: ['/run'] }),
      },
      fixture.image({}, [hiddenLayer(), fixture.layer]),
    );
    assert.match(own.stdout, /^0\n0\n\/bin\/sh: can't create \/run\/x: Read-only file system\n[1-9]\d*\n$/);
  });

  const hiddenLayer = (): string => {
    const layer = `${fixture.top}/hidden`;
    mkdirSync(`${layer}/etc`, { recursive: true });
    mkdirSync(`${layer}/var/full`, { recursive: true });
    writeFileSync(`${layer}/etc/hidden`, 'secret');
    return layer;
  };

  /** A device that is not among the default ones and that root may open without further rights. */
  const readableDevice = (): string => {
    const found = ['/dev/fuse', '/dev/loop-control', '/dev/net/tun'].find((path) => existsSync(path));
    assert.ok(found, 'no device to test with');
    return found;
  };

  test('devices: the usual ones, those asked for, no others', async () => {
    const done = await fixture.run(
      pod,
      'for d in null zero full random urandom tty; do [ -c /dev/$d ] || echo no $d; done; ls /dev/kmsg /dev/mem 2>&1; head -c 2 /dev/zero | wc -c; mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem 2>&1',
    );
    assert.equal(
      done.stdout,
      'ls: /dev/kmsg: No such file or directory\nls: /dev/mem: No such file or directory\n2\nhead: /tmp/mem: Operation not permitted\n',
    );
    const asked = await fixture.run(pod, '[ -c /dev/own ] && : < /dev/own && echo read; (: > /dev/own) 2>&1', {
      devices: [{ hostPath: readableDevice(), containerPath: '/dev/own', permissions: 'r' }],
    });
    assert.equal(asked.stdout, "read\n/bin/sh: can't create /dev/own: Operation not permitted\n");
  });

  /** Nodes of our own on the host: zero for some, full as another. */
  const hostNodes = (name: string): string => {
    const top = `${fixture.top}/nodes-${name}`;
    mkdirSync(`${top}/sub`, { recursive: true });
    for (const [path, minor] of [
      ['zero', '5'],
      ['sub/full', '7'],
    ] as const) {
      execFileSync('mknod', [`${top}/${path}`, 'c', '1', minor]);
      chownSync(`${top}/${path}`, 0, 2000);
      chmodSync(`${top}/${path}`, 0o640);
    }
    return top;
  };
  const SHOW = "stat -c '%n %F %t:%T %a %u:%g'";

  test('a node is the container’s own: as on the host, under any name below /dev, and the host’s stays as it is', async () => {
    const top = hostNodes('own');
    const before = statSync(`${top}/zero`);
    const config = {
      devices: [
        { hostPath: `${top}/zero`, containerPath: '/dev/mapper/a b', permissions: 'r' },
        { hostPath: top, containerPath: '/dev/all', permissions: 'rw' },
      ],
    };
    const script = `${SHOW} "/dev/mapper/a b" /dev/all/zero /dev/all/sub/full; head -c 3 "/dev/mapper/a b" | wc -c; (echo x > /dev/all/sub/full) 2>&1`;
    const shown =
      '/dev/mapper/a b character special file 1:5 640 0:2000\n/dev/all/zero character special file 1:5 640 0:2000\n/dev/all/sub/full character special file 1:7 640 0:2000\n3\n';
    const changed = `chmod 666 "/dev/mapper/a b" && chown 1000:1000 "/dev/mapper/a b" && ${SHOW} "/dev/mapper/a b"`;
    const ordinary = await fixture.run(pod, `${script}; ${changed}`, config);
    assert.equal(
      ordinary.stdout,
      `${shown}sh: write error: No space left on device\n/dev/mapper/a b character special file 1:5 666 1000:1000\n`,
    );
    const user = await fixture.run(pod, script, {
      ...config,
      ...context({ runAsUser: { value: '1000' }, runAsGroup: { value: '2000' } }),
    });
    assert.equal(user.stdout, `${shown}/bin/sh: can't create /dev/all/sub/full: Permission denied\n`);
    const stranger = await fixture.run(pod, '(: < /dev/all/zero) 2>&1', {
      ...config,
      ...context({ runAsUser: { value: '1000' } }),
    });
    assert.equal(stranger.stdout, "/bin/sh: can't open /dev/all/zero: Permission denied\n");
    const privileged = await fixture.run(
      await fixture.pod({ linux: { securityContext: { privileged: true } } }),
      `${script}; ${changed}; [ -c /dev/kmsg ] && echo kmsg`,
      { ...config, ...context({ privileged: true }) },
    );
    assert.equal(privileged.stdout, `${ordinary.stdout}kmsg\n`);
    const after = statSync(`${top}/zero`);
    assert.deepEqual([after.mode, after.uid, after.gid], [before.mode, before.uid, before.gid]);
  });

  test('a node that a volume in /dev does not have, or where something is already, is refused, and nothing is made on the host', async () => {
    const top = hostNodes('volume');
    const volume = `${fixture.top}/dev-volume`;
    mkdirSync(volume);
    const mounts = [{ containerPath: '/dev/volume', hostPath: volume }];
    const device = (containerPath: string) => ({
      mounts,
      devices: [{ hostPath: `${top}/zero`, containerPath, permissions: 'rwm' }],
    });
    for (const [path, code] of [
      ['/proc/zero', 'INVALID_FIELD'],
      ['/bin/sh', 'INVALID_FIELD'],
      ['/dev', 'INVALID_FIELD'],
      ['/dev/shm/zero', 'INVALID_FIELD'],
      ['/dev/volume/zero', 'INVALID_FIELD'],
    ] as const)
      await assert.rejects(
        fixture.create(pod, { command: ['/bin/true'], ...device(path) }),
        (error: unknown) =>
          error instanceof BerthError && error.code === code && error.message.startsWith('devices[0].container_path'),
        path,
      );
    assert.deepEqual(readdirSync(volume), []);
    // A raw block volume of Kubernetes: anywhere in the root file system, and the container's own.
    const raw = await fixture.run(pod, 'head -c 3 /mnt/raw/zero | wc -c; chmod 600 /mnt/raw/zero; stat -c %t:%T /mnt/raw/zero', {
      ...device('/mnt/raw/zero'),
    });
    assert.equal(raw.stdout, '3\n1:5\n');
    assert.equal((statSync(`${top}/zero`).mode & 0o777).toString(8), '640');
    const spec = await fixture.create(pod, { command: ['/bin/true'], ...device('/dev/mqueue') });
    await assert.rejects(
      fixture.runtime.startContainer(spec),
      (error: unknown) => error instanceof BerthError && error.message.includes('cannot make /dev/mqueue: File exists'),
    );
  });

  test('AppArmor: a profile of a name, and none', async (t) => {
    const facts = await readHostFacts();
    const parser = ['/usr/sbin/apparmor_parser', '/sbin/apparmor_parser'].find((path) => existsSync(path));
    if (!facts.apparmor || parser === undefined) return t.skip('no AppArmor here');
    const name = `berth-test-${process.pid}`;
    const text = `profile ${name} flags=(attach_disconnected) { file, signal, capability, deny /tmp/secret w, }\n`;
    execFileSync(parser, ['--replace', '--skip-cache'], { input: text });
    try {
      const script = 'cat /proc/self/attr/current; (echo x > /tmp/secret) 2>&1; echo x > /tmp/other && echo wrote';
      const apparmor = (profileType: string, localhostRef = '') => ({
        linux: { securityContext: { apparmor: { profileType, localhostRef } } },
      });
      assert.equal(
        (await fixture.run(pod, script, apparmor('Localhost', name))).stdout,
        `${name} (enforce)\n/bin/sh: can't create /tmp/secret: Permission denied\nwrote\n`,
      );
      assert.equal((await fixture.run(pod, script, apparmor('Unconfined'))).stdout, 'unconfined\nwrote\n');
      if (facts.apparmorDefault)
        assert.match((await fixture.run(pod, script)).stdout, /^lxc-container-default-cgns \(enforce\)\nwrote\n$/);
    } finally {
      execFileSync(parser, ['--remove'], { input: text });
    }
  });

  test('the limit of open files is the usual one, not what Node raised its own to', async () => {
    assert.equal((await fixture.run(pod, 'ulimit -Sn')).stdout, '1024\n');
  });

  test('the pid namespace is its own', async () => {
    assert.equal((await fixture.run(pod, 'echo $$; ls -d /proc/[0-9]* | wc -l')).stdout.split('\n')[0], '1');
  });

  test('a command that is not there, one that cannot be executed', async () => {
    const missing = await fixture.create(pod, { command: ['/no/such/program'] });
    await assert.rejects(
      fixture.runtime.startContainer(missing),
      (error: unknown) =>
        error instanceof BerthError && error.code === 'COMMAND_NOT_FOUND' && error.message.includes('"/no/such/program"'),
    );
    const text = await fixture.create(pod, { command: ['/etc/hostname'] });
    await assert.rejects(
      fixture.runtime.startContainer(text),
      (error: unknown) => error instanceof BerthError && error.code === 'COMMAND_NOT_EXECUTABLE',
    );
  });

  test('a start that is given up leaves neither shim nor LXC, and nothing comes up later', async () => {
    const { runtime, reached, open } = fixture.gated();
    const spec = await fixture.create(pod, { command: ['/bin/sh', '-c', 'echo here; sleep 1000'] });
    const started = assert.rejects(runtime.startContainer(spec), /ended without a word/);
    const lxc = await reached();
    const processes = [fixture.shimOf(spec), lxc];
    const alive = () => processes.filter((pid) => existsSync(`/proc/${pid}/exe`));
    assert.deepEqual(alive(), processes);
    await runtime.abandonStart(spec);
    await started;
    while (alive().length > 0) await sleep(5);
    open();
    await runtime.abandonStart(spec);
    await runtime.close();
  });
});
