import assert from 'node:assert/strict';
import { test } from 'node:test';
import { normaliseName, parseReference } from './reference.ts';

const ID = 'a1'.repeat(32);

test('names get their domain, library/ and tag', () => {
  const cases = [
    ['busybox', 'docker.io/library/busybox:latest'],
    ['busybox:1.29-2', 'docker.io/library/busybox:1.29-2'],
    ['me/app', 'docker.io/me/app:latest'],
    ['docker.io/busybox', 'docker.io/library/busybox:latest'],
    ['index.docker.io/library/busybox:x', 'docker.io/library/busybox:x'],
    ['localhost/app', 'localhost/app:latest'],
    ['localhost:5000/app', 'localhost:5000/app:latest'],
    ['localhost:5000/app:v1', 'localhost:5000/app:v1'],
    ['registry.k8s.io/e2e-test-images/busybox:1.29-2', 'registry.k8s.io/e2e-test-images/busybox:1.29-2'],
    ['[::1]:5000/a/b', '[::1]:5000/a/b:latest'],
    ['a/b__c/d-e.f_g', 'docker.io/a/b__c/d-e.f_g:latest'],
    ['sha256:abcd', 'docker.io/library/sha256:abcd'],
  ] as const;
  for (const [given, full] of cases) assert.equal(normaliseName(given), full, given);
});

test('a full name stays as it is', () => {
  for (const name of ['busybox', 'x.y/z:1', 'me/app:v']) assert.equal(normaliseName(normaliseName(name)), normaliseName(name));
});

test('what is no name is refused with the reason', () => {
  const cases: [string, RegExp][] = [
    ['', /empty/],
    ['Busybox', /lower-case/],
    ['a//b', /lower-case/],
    ['a/../b', /lower-case/],
    ['/abs', /lower-case/],
    ['a b', /lower-case/],
    ['a:', /tag/],
    ['a:b/c:-x', /tag/],
    [`a:${'t'.repeat(129)}`, /tag/],
    [`busybox@sha256:${ID}`, /digest/],
    [ID, /image id/],
    [`x.y/${'a'.repeat(300)}`, /longer than 255/],
    ['-x.y/a', /host name/],
    ['a\n', /lower-case/],
    ['a:b\n', /tag/],
  ];
  for (const [name, why] of cases) assert.throws(() => normaliseName(name), { code: 'IMAGE_NAME_INVALID', message: why }, name);
});

test('a reference is an id, the beginning of one, a name, or both', () => {
  assert.deepEqual(parseReference(ID), { id: ID });
  assert.deepEqual(parseReference(`sha256:${ID}`), { id: ID });
  assert.deepEqual(parseReference(`docker.io/library/x@sha256:${ID}`), { id: ID });
  assert.deepEqual(parseReference('sha256:abcd'), { idPrefix: 'abcd' });
  assert.deepEqual(parseReference('beef'), { idPrefix: 'beef', name: 'docker.io/library/beef:latest' });
  assert.deepEqual(parseReference('abc'), { name: 'docker.io/library/abc:latest' });
  assert.deepEqual(parseReference('NOT A NAME'), {});
});
