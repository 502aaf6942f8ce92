// The detach sequence, wherever the input is cut.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DetachKeys, parseDetachKeys } from './detach-keys.ts';

const P = '\x10';
const Q = '\x11';

/** Feeds pieces one by one; gives what reached the container and after how many pieces it was left. */
function feed(keys: string, pieces: readonly string[]): { passed: string; detachedAt: number | undefined; held: string } {
  const matcher = new DetachKeys(parseDetachKeys(keys));
  let passed = '';
  for (const [at, piece] of pieces.entries()) {
    const { pass, detach } = matcher.push(Buffer.from(piece, 'latin1'));
    passed += Buffer.from(pass).toString('latin1');
    if (detach) return { passed, detachedAt: at, held: '' };
  }
  return { passed, detachedAt: undefined, held: Buffer.from(matcher.end()).toString('latin1') };
}

test('the sequence in one piece detaches, what stands before it is passed on and what follows is not', () => {
  assert.deepEqual(feed('ctrl-p,ctrl-q', [`ls\n${P}${Q}rm`]), { passed: 'ls\n', detachedAt: 0, held: '' });
});

test('the sequence is found over a cut', () => {
  assert.deepEqual(feed('ctrl-p,ctrl-q', [`a${P}`, Q]), { passed: 'a', detachedAt: 1, held: '' });
});

test('ctrl-p alone is passed on with the next key', () => {
  assert.deepEqual(feed('ctrl-p,ctrl-q', [P, 'x']), { passed: `${P}x`, detachedAt: undefined, held: '' });
});

test('ctrl-p at the end of the input is not lost', () => {
  assert.deepEqual(feed('ctrl-p,ctrl-q', [`a${P}`]), { passed: 'a', detachedAt: undefined, held: P });
});

test('ctrl-p ctrl-p ctrl-q passes one ctrl-p on and detaches', () => {
  assert.deepEqual(feed('ctrl-p,ctrl-q', [P, P, Q]), { passed: P, detachedAt: 2, held: '' });
});

test('a sequence that begins within itself is found', () => {
  assert.deepEqual(feed('a,a,b', ['aaab']), { passed: 'a', detachedAt: 0, held: '' });
  assert.deepEqual(feed('a,b,a,c', ['ab', 'ab', 'ac']), { passed: 'ab', detachedAt: 2, held: '' });
});

test('without keys everything is passed on', () => {
  assert.deepEqual(feed('', [`${P}${Q}`]), { passed: `${P}${Q}`, detachedAt: undefined, held: '' });
});

test('every way of cutting an input gives what one piece gives', () => {
  const input = `x${P}y${P}${P}z${P}`;
  for (let cuts = 0; cuts < 1 << (input.length - 1); cuts += 1) {
    const pieces = [''];
    for (const [at, character] of [...input].entries()) {
      pieces[pieces.length - 1] += character;
      if ((cuts >> at) & 1) pieces.push('');
    }
    const { passed, held, detachedAt } = feed('ctrl-p,ctrl-q', pieces);
    assert.equal(detachedAt, undefined);
    assert.equal(passed + held, input);
  }
});

test('keys are read as docker reads them', () => {
  assert.deepEqual([...parseDetachKeys('ctrl-a,ctrl-@,ctrl-],CTRL-_,q')], [1, 0, 29, 31, 113]);
  for (const wrong of ['ctrl-', 'ctrl-1', 'ab', 'ctrl-p,', ' ']) assert.throws(() => parseDetachKeys(wrong), RangeError, wrong);
});
