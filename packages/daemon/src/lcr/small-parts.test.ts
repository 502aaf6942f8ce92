/** Small pure parts of the room: the shim's configuration and answer, overlay layers, log locations, device numbers, paths. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseFlags } from '../config/flags.ts';
import { loadConfig } from '../config/load.ts';
import { deviceNumber } from './devices.ts';
import { checkStart } from './host.ts';
import { logLocation } from './log-location.ts';
import { shortLayers } from './mount-points.ts';
import { isSafeId, MAX_STATE_BYTES } from './paths.ts';
import { encodeShimConfig, parseShimAnswer } from './shim-config.ts';

test('a start by somebody else than root, or with a state folder that gives no room to sockets', async () => {
  const config = await loadConfig(parseFlags([]));
  checkStart(config, 0);
  checkStart({ ...config, state: `/${'x'.repeat(MAX_STATE_BYTES - 1)}` }, 0);
  assert.throws(() => checkStart(config, 1000), { code: 'NOT_ROOT', message: /run it as root/ });
  const long = { ...config, state: `/${'x'.repeat(MAX_STATE_BYTES)}` };
  assert.throws(() => checkStart(long, 0), { code: 'STATE_PATH_TOO_LONG', message: /longer than 32 bytes/ });
});

describe('the shim', () => {
  test('configuration: key=value, each with a NUL', () => {
    assert.deepEqual(
      encodeShimConfig([
        ['id', 'x'],
        ['arg', ''],
        ['env', Buffer.from([0x41, 0x3d, 0xff])],
      ]),
      Buffer.from('id=x\0arg=\0env=A=\xff\0', 'latin1'),
    );
    assert.throws(() => encodeShimConfig([['arg', 'a\0b']]), /NUL/);
  });

  test('answers', () => {
    assert.deepEqual(parseShimAnswer('ok 42\n'), { kind: 'ok', pid: 42 });
    assert.deepEqual(parseShimAnswer('error notfound no such file\n'), { kind: 'error', error: 'notfound', text: 'no such file' });
    assert.deepEqual(parseShimAnswer('error strange a b\n'), { kind: 'error', error: 'system', text: 'a b' });
    assert.deepEqual(parseShimAnswer('error lxc\n'), { kind: 'error', error: 'lxc', text: '' });
    for (const text of ['', 'ok\n', 'ok x\n', 'hello\n']) assert.equal(parseShimAnswer(text), undefined, text);
  });
});

test('layers are named from the directory that they share', () => {
  assert.deepEqual(shortLayers(['/var/l/a/fs', '/var/l/b/fs']), { cwd: '/var/l', lower: ['a/fs', 'b/fs'] });
  assert.deepEqual(shortLayers(['/var/l/a']), { cwd: '/var/l', lower: ['a'] });
  assert.deepEqual(shortLayers(['/a/x', '/b/y']), { cwd: '/', lower: ['a/x', 'b/y'] });
  assert.deepEqual(shortLayers(['/a/l', '/a/lx']), { cwd: '/a', lower: ['l', 'lx'] });
});

test('a log needs directory and path, and stays below', () => {
  assert.deepEqual(logLocation('/logs/', 'c//./0.log'), { logDirectory: '/logs', logPath: 'c/0.log' });
  assert.deepEqual(logLocation('', 'x'), {});
  assert.deepEqual(logLocation('/x', ''), {});
  for (const [directory, path] of [
    ['rel', 'x'],
    ['/x', '../y'],
    ['/x', 'a/../../y'],
    ['/x', '/'],
    ['/x', 'a\0b'],
  ] as const)
    assert.throws(() => logLocation(directory, path), /log_/);
});

test('device numbers beyond 8 bits', () => {
  assert.deepEqual(deviceNumber(0x103n), { major: 1, minor: 3 });
  assert.deepEqual(deviceNumber(0x1234_5678_9012_3456n), { major: 0x1234_5234, minor: 0x6789_0156 });
});

test('ids are names, and the longest state directory gives a socket path of 107 bytes', () => {
  for (const id of ['a', 'A-b_c.d', 'f'.repeat(64)]) assert.ok(isSafeId(id));
  for (const id of ['', '.', '..', '.x', 'a/b', 'a b', 'a\n', 'x'.repeat(129)]) assert.equal(isSafeId(id), false, id);
  assert.equal(Buffer.byteLength(`${'s'.repeat(MAX_STATE_BYTES)}/${'f'.repeat(64)}/shim.sock`), 107);
});
