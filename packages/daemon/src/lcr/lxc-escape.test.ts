/** Nothing from outside adds a line to an LXC config or changes its meaning. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { line, mountField, shellWord } from './lxc-escape.ts';

test('a line is key, value and one newline', () => {
  assert.equal(line('lxc.init.cwd', '/a b'), 'lxc.init.cwd = /a b\n');
});

test('a value that LXC would read as something else is refused', () => {
  for (const value of ['/a\nlxc.hook.stop = x', '/a\r', '/a\0', '/a ', ' /a', "'/a'", '"/a"', '\u007f', 'x'.repeat(70_000)])
    assert.throws(() => line('lxc.rootfs.path', value), /lxc\.rootfs\.path/, JSON.stringify(value.slice(0, 20)));
});

test('a mount field has no separator of fields', () => {
  assert.equal(mountField('m', '/a b\tc\nd\\e'), '/a\\040b\\011c\\012d\\134e');
  assert.equal(mountField('m', '/ü#'), '/ü#');
  for (const path of ['', '#x', '/a\u0001', '/a\0b']) assert.throws(() => mountField('m', path), /^BerthError: m: /);
});

test('a shell word is one word to a shell', () => {
  const path = `/a b'c"d$e\`f\\g;h&i|j(k)*?[l]#ü😀`;
  assert.equal(execFileSync('sh', ['-c', `printf %s ${shellWord(path)}`], { encoding: 'utf8' }), path);
});
