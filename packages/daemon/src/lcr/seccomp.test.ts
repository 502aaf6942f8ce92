/** Seccomp profiles as policy text; that compiler and kernel take them is tested with real containers. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BerthError } from '../util/errors.ts';
import { defaultProfile, translateProfile } from './seccomp.ts';
import { ALLOWED, ALLOWED_WITH, REFUSED } from './seccomp-default.ts';

const DEFAULT_CAPABILITIES = 0xa80425fbn;
const SYS_ADMIN = 1n << 21n;
const context = { capabilities: DEFAULT_CAPABILITIES, architecture: 'x64', kernel: '6.1.0-13-amd64' } as const;
const translate = (profile: object) => translateProfile('seccomp', JSON.stringify(profile), context).trimEnd().split('\n');

describe('the default profile', () => {
  const lines = defaultProfile(DEFAULT_CAPABILITIES).split('\n');

  test('answers ENOSYS to what it does not know, EPERM to what it refuses', () => {
    assert.deepEqual(lines.slice(0, 3), ['2', 'allowlist errno 38', '[all]']);
    for (const name of ['mount', 'unshare', 'setns', 'bpf', 'keyctl', 'init_module', 'open_by_handle_at', 'io_uring_setup'])
      assert.ok(lines.includes(`${name} errno 1`), name);
    for (const name of ['read', 'execve', 'futex', 'chroot', 'ptrace', 'openat2', 'rseq', 'clock_gettime64'])
      assert.ok(lines.includes(name), name);
  });

  test('clone may not make namespaces, clone3 does not exist', () => {
    assert.ok(lines.includes('clone allow [0,0,SCMP_CMP_MASKED_EQ,2114060288]'));
    assert.ok(lines.includes('clone errno 1 [0,268435456,SCMP_CMP_MASKED_EQ,268435456]'));
    assert.equal(
      lines.some((line) => line.startsWith('clone3')),
      false,
    );
  });

  test('capabilities open what belongs to them', () => {
    const more = defaultProfile(DEFAULT_CAPABILITIES | SYS_ADMIN).split('\n');
    for (const name of ['mount', 'clone', 'clone3', 'setns', 'bpf']) assert.ok(more.includes(name), name);
    assert.equal(more.includes('mount errno 1'), false);
    assert.ok(more.includes('reboot errno 1'));
    assert.ok(
      defaultProfile(1n << 34n)
        .split('\n')
        .includes('syslog'),
    );
  });

  test('no name is in two lists that contradict each other', () => {
    const withCapability = new Set(Object.values(ALLOWED_WITH).flat());
    for (const name of ALLOWED) assert.equal(withCapability.has(name) || REFUSED.includes(name), false, name);
    assert.equal(new Set(ALLOWED).size, ALLOWED.length);
    for (const name of [...ALLOWED, ...withCapability, ...REFUSED]) assert.match(name, /^[a-z0-9_]+$/);
  });
});

describe('translateProfile', () => {
  test('an allow list with conditions', () => {
    const lines = translate({
      defaultAction: 'SCMP_ACT_ERRNO',
      defaultErrnoRet: 38,
      syscalls: [
        { names: ['read', 'write'], action: 'SCMP_ACT_ALLOW' },
        { names: ['socket'], action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value: 40, op: 'SCMP_CMP_NE' }] },
        {
          names: ['clone'],
          action: 'SCMP_ACT_ALLOW',
          args: [{ index: 0, value: 2114060288, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
        },
        {
          names: ['x'],
          action: 'SCMP_ACT_ALLOW',
          args: [
            { index: 0, value: 1, op: 'SCMP_CMP_EQ' },
            { index: 1, value: 2, op: 'SCMP_CMP_LT' },
          ],
        },
        {
          names: ['y'],
          action: 'SCMP_ACT_ALLOW',
          args: [
            { index: 0, value: 1, op: 'SCMP_CMP_EQ' },
            { index: 0, value: 2, op: 'SCMP_CMP_EQ' },
          ],
        },
        { names: ['mount'], action: 'SCMP_ACT_ERRNO', errnoRet: 1 },
        { names: ['same'], action: 'SCMP_ACT_ERRNO', errnoRet: 38 },
      ],
    });
    assert.deepEqual(lines, [
      '2',
      'allowlist errno 38',
      '[all]',
      'read allow',
      'write allow',
      'socket allow [0,40,SCMP_CMP_NE]',
      'clone allow [0,0,SCMP_CMP_MASKED_EQ,2114060288]',
      'x allow [0,1,SCMP_CMP_EQ][1,2,SCMP_CMP_LT]',
      'y allow [0,1,SCMP_CMP_EQ]',
      'y allow [0,2,SCMP_CMP_EQ]',
      'mount errno 1',
    ]);
  });

  test('a deny list, old names, null lists', () => {
    const lines = translate({
      defaultAction: 'SCMP_ACT_ALLOW',
      architectures: null,
      syscalls: [
        { name: 'chmod', action: 'SCMP_ACT_KILL', args: null },
        { names: ['x'], action: 'SCMP_ACT_TRAP' },
      ],
    });
    assert.deepEqual(lines, ['2', 'denylist allow', '[all]', 'chmod kill', 'x trap']);
  });

  test('every action that needs nobody to answer; as the default as well', () => {
    const actions: Readonly<Record<string, string>> = {
      SCMP_ACT_ALLOW: 'allow',
      SCMP_ACT_LOG: 'log',
      SCMP_ACT_ERRNO: 'errno 1',
      SCMP_ACT_TRAP: 'trap',
      SCMP_ACT_KILL: 'kill',
      SCMP_ACT_KILL_THREAD: 'kill',
      SCMP_ACT_KILL_PROCESS: 'kill_process',
    };
    for (const [name, word] of Object.entries(actions)) {
      const lines = translate({
        defaultAction: name,
        syscalls: Object.keys(actions).map((action, i) => ({ names: [`call${i}`], action })),
      });
      assert.equal(lines[1], word === 'allow' ? 'denylist allow' : `allowlist ${word}`);
      const others = Object.values(actions).flatMap((other, i) => (other === word ? [] : [`call${i} ${other}`]));
      assert.deepEqual(lines.slice(3), others);
    }
    // The profile of Kubernetes' tutorial that only writes down what a program does.
    assert.deepEqual(translate({ defaultAction: 'SCMP_ACT_LOG' }), ['2', 'allowlist log', '[all]']);
  });

  test('architectures', () => {
    const of = (extra: object) => translate({ defaultAction: 'SCMP_ACT_ALLOW', ...extra })[2];
    assert.equal(of({ architectures: ['SCMP_ARCH_X86_64'] }), '[x86_64]');
    assert.equal(of({ architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'] }), '[all]');
    assert.equal(of({ archMap: [{ architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86'] }] }), '[all]');
    assert.throws(() => of({ architectures: ['SCMP_ARCH_S390X'] }), /not for SCMP_ARCH_X86_64/);
  });

  test('includes and excludes', () => {
    const rule = (name: string, extra: object) => ({ names: [name], action: 'SCMP_ACT_ALLOW', ...extra });
    const lines = translate({
      defaultAction: 'SCMP_ACT_ERRNO',
      syscalls: [
        rule('a', { includes: { caps: ['CAP_SYS_ADMIN'] } }),
        rule('b', { includes: { caps: ['CAP_CHOWN'] } }),
        rule('c', { excludes: { caps: ['CAP_CHOWN'] } }),
        rule('d', { excludes: { caps: ['CAP_SYS_ADMIN'] } }),
        rule('e', { includes: { minKernel: '4.8' } }),
        rule('f', { includes: { minKernel: '6.2' } }),
        rule('g', { includes: { arches: ['s390'] } }),
        rule('h', { includes: { arches: ['amd64'] } }),
        rule('i', { excludes: { minKernel: '4.8' } }),
      ],
    });
    assert.deepEqual(
      lines.slice(3),
      ['b', 'd', 'e', 'h'].map((name) => `${name} allow`),
    );
  });

  test('what the filter cannot give, and what would break the policy file, is refused by name', () => {
    const cases: readonly (readonly [unknown, string, RegExp])[] = [
      [{ defaultAction: 'SCMP_ACT_TRACE' }, 'unimplemented', /SCMP_ACT_TRACE/],
      [{ defaultAction: 'SCMP_ACT_ALLOW', flags: ['SECCOMP_FILTER_FLAG_LOG'] }, 'unimplemented', /FLAG_LOG/],
      [{ defaultAction: 'SCMP_ACT_ALLOW', listenerPath: '/x' }, 'unimplemented', /listenerPath/],
      [
        { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: ['a'], action: 'SCMP_ACT_NOTIFY' }] },
        'unimplemented',
        /SCMP_ACT_NOTIFY/,
      ],
      [
        {
          defaultAction: 'SCMP_ACT_ALLOW',
          syscalls: [{ names: ['a'], action: 'SCMP_ACT_ERRNO', args: [{ index: 0, value: 1, op: 'SCMP_CMP_IN' }] }],
        },
        'unimplemented',
        /SCMP_CMP_IN/,
      ],
      [{ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: ['a\nb'], action: 'SCMP_ACT_ERRNO' }] }, 'invalid-argument', /names/],
      [
        {
          defaultAction: 'SCMP_ACT_ALLOW',
          syscalls: [{ names: ['a'], action: 'SCMP_ACT_ERRNO', args: [{ index: 9, value: 1, op: 'SCMP_CMP_EQ' }] }],
        },
        'invalid-argument',
        /index/,
      ],
      [
        {
          defaultAction: 'SCMP_ACT_ALLOW',
          syscalls: [{ names: ['a'], action: 'SCMP_ACT_ERRNO', args: [{ index: 0, value: 2 ** 60, op: 'SCMP_CMP_EQ' }] }],
        },
        'invalid-argument',
        /too large/,
      ],
      [{}, 'invalid-argument', /defaultAction/],
      [[], 'invalid-argument', /seccomp/],
    ];
    for (const [profile, kind, text] of cases)
      assert.throws(
        () => translateProfile('seccomp', JSON.stringify(profile), context),
        (error: unknown) => error instanceof BerthError && error.kind === kind && text.test(error.message),
        JSON.stringify(profile),
      );
    assert.throws(() => translateProfile('seccomp', '{', context), /not JSON/);
  });
});
