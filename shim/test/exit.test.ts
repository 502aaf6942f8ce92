import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Container, readLog, SKIP } from './support/container.ts';

const options = { skip: SKIP };

test('a program that ends with 0', options, async () => {
  await using container = new Container({ args: ['sh', '-c', 'echo hello; echo oops >&2'] });
  const peer = await container.attach();
  const exit = await peer.exit();
  assert.deepEqual({ kind: exit.kind, code: exit.code, drained: exit.drained, offset: exit.offset }, { kind: 0, code: 0, drained: 1, offset: 11 });
  assert.equal(peer.text(1), 'hello\n');
  assert.equal(peer.text(2), 'oops\n');
  const record = await container.exitRecord();
  assert.equal(record.kind, 'exited');
  assert.equal(record.offset, '11');
  assert.ok(BigInt(record.startedAt) < BigInt(record.finishedAt));
  await peer.leave();
  assert.deepEqual(readLog(container.log).map((r) => `${r.stream} ${r.kind} ${r.content}`).sort(), ['stderr F oops', 'stdout F hello']);
});
