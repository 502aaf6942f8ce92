// Names, ids and the options that describe a container.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CliError } from '../errors.ts';
import { findNamed } from './resolve.ts';
import { checkName, containerConfig, parseEnv, parseUser, parseVolume, podConfig } from './spec.ts';

const all = [
  { id: 'abc1', metadata: { name: 'web' } },
  { id: 'abd2', metadata: { name: 'db' } },
  { id: 'fff3', metadata: { name: 'db' } },
  { id: 'web9', metadata: { name: 'abc1' } },
];
const find = (reference: string): string | undefined => findNamed('container', reference, all)?.id;

test('a whole id wins over a name, a name over the beginning of an id', () => {
  assert.equal(find('abc1'), 'abc1');
  assert.equal(find('web'), 'abc1');
  assert.equal(find('f'), 'fff3');
  assert.equal(find('web9'), 'web9');
});

test('what means nothing is not found', () => {
  assert.equal(find('zzz'), undefined);
  assert.equal(find(''), undefined);
});

test('what means several is refused with their ids', () => {
  assert.throws(
    () => find('db'),
    (error) => error instanceof CliError && /abd2, fff3/.test(error.message),
  );
  assert.throws(
    () => find('ab'),
    (error) => error instanceof CliError && /begins with "ab".*abc1, abd2/.test(error.message),
  );
});

test('volumes', () => {
  assert.deepEqual(parseVolume('/a:/b'), { hostPath: '/a', containerPath: '/b', readonly: false, propagation: 0 });
  assert.deepEqual(parseVolume('./a:/b:ro,rshared'), {
    hostPath: `${process.cwd()}/a`,
    containerPath: '/b',
    readonly: true,
    propagation: 2,
  });
  for (const wrong of ['/a', '/a:b', ':/b', 'data:/b', '/a:/b:rx', '/a:/b:ro:x', '/a:/b:constructor'])
    assert.throws(() => parseVolume(wrong), CliError, wrong);
});

test('environment', () => {
  const pairs = (text: string): [string, string][] => parseEnv(text).map(({ key, value }) => [key, Buffer.from(value).toString()]);
  assert.deepEqual(pairs('A=b=c'), [['A', 'b=c']]);
  assert.deepEqual(pairs('A='), [['A', '']]);
  process.env['BERTH_TEST_VALUE'] = 'here';
  assert.deepEqual(pairs('BERTH_TEST_VALUE'), [['BERTH_TEST_VALUE', 'here']]);
  assert.deepEqual(pairs('BERTH_TEST_NO_SUCH_VALUE'), []);
  assert.deepEqual(pairs('constructor'), []);
  assert.throws(() => parseEnv('=x'), CliError);
});

test('users', () => {
  assert.deepEqual(parseUser(undefined), {});
  assert.deepEqual(parseUser('1000:100'), { runAsUser: { value: 1000n }, runAsGroup: { value: 100n } });
  assert.deepEqual(parseUser('nobody'), { runAsUsername: 'nobody' });
  for (const wrong of ['', ':1', 'a:b', '1:2:3']) assert.throws(() => parseUser(wrong), CliError, wrong);
});

test('names', () => {
  assert.equal(checkName('a.B_c-1'), 'a.B_c-1');
  for (const wrong of ['', '-a', 'a/b', 'a b', '.a', 'a-', 'x'.repeat(64)]) assert.throws(() => checkName(wrong), CliError, wrong);
});

test("the host network is asked for in pod and container alike, and then the host name is the host's", () => {
  const pod = podConfig('my_web', '/log', { net: 'host' });
  assert.equal(pod.hostname, '');
  assert.equal(pod.linux?.securityContext?.namespaceOptions?.network, 2);
  const container = containerConfig('my_web', 'i', ['a', 'b'], false, { net: 'host' });
  assert.equal(container.linux?.securityContext?.namespaceOptions?.network, 2);
  assert.deepEqual(container.args, ['a', 'b']);
  assert.equal(podConfig('my_web', '/log', {}).hostname, 'my-web');
});

test('a privileged container has nothing masked and no seccomp; any other has both', () => {
  const security = (privileged: boolean) => containerConfig('c', 'i', [], false, { privileged }).linux?.securityContext;
  assert.equal(security(true)?.seccomp, undefined);
  assert.deepEqual(security(true)?.maskedPaths, []);
  assert.equal(security(false)?.seccomp?.profileType, 0);
  assert.ok(security(false)?.maskedPaths?.includes('/proc/kcore'));
});
