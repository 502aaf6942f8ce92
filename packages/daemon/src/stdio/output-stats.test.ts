// Totals of the output's way: every byte that came is in the buffer, evicted or in a gap, and fallbacks are counted as such.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { exposition } from '../observability/exposition.ts';
import { parseExposition, valueOf } from '../testing/parse-exposition.ts';
import { modelHub } from '../testing/model-hub.ts';
import { ModelShim } from '../testing/model-shim.ts';
import { OutputStats } from './output-stats.ts';

const PIECE = 10_000;
const PIECES = 40;

test('a client that falls behind, and a daemon that is late, are counted exactly', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'berth-stats-'));
  const logPath = join(folder, '0.log');
  const shim = new ModelShim(logPath, 64 * 1024);
  const stats = new OutputStats();
  const gaps: number[] = [];
  const hub = modelHub(shim, { logPath, ringBytes: 262_144, stats }, (bytes) => gaps.push(bytes));
  try {
    assert.equal(stats.active.size, 0);
    let got = 0;
    let room = false;
    const cursor = hub.open(
      await hub.claim(),
      'now',
      { stdout: true, stderr: true },
      {
        write: (_stream, data) => {
          got += data.length;
          return room;
        },
        ended: () => undefined,
      },
    );
    const write = async (): Promise<void> => {
      for (let at = 0; at < PIECES; at += 1) {
        // A container waits for a moment for the daemon, which waits for a client that might be quick.
        while (!shim.late && shim.room < PIECE) await sleep(1);
        shim.write(1, Buffer.alloc(PIECE, 'x'));
      }
      await sleep(1);
    };
    await write();
    assert.equal(stats.logFallbacks, 0, 'a client that waits reads nothing');
    assert.equal(cursor.lag, PIECES * PIECE - got);
    room = true;
    cursor.resume();
    while (got < PIECES * PIECE) await sleep(1);
    assert.equal(stats.logFallbacks, 1);
    assert.ok(stats.logBytes > 0 && stats.logBytes < PIECES * PIECE);
    assert.equal(stats.gaps, 0);

    // A daemon that does not read while more comes than the ring holds; the client catches up from the log.
    shim.late = true;
    await write();
    shim.late = false;
    shim.pump();
    while (got < 2 * PIECES * PIECE) await sleep(1);
    assert.ok(gaps.length > 0);
    assert.deepEqual([stats.gaps, stats.gapBytes], [gaps.length, gaps.reduce((sum, bytes) => sum + bytes, 0)]);
    assert.equal(stats.logFallbacks, 2);
    assert.equal(cursor.lag, 0);
    const held = hub.live.head - hub.live.tail;
    assert.equal(held + stats.taken + stats.evictedForRoom + stats.evictedByGap + stats.gapBytes, 2 * PIECES * PIECE);

    const families = parseExposition(exposition(stats.families()));
    assert.equal(valueOf(families, 'berth_attached_containers'), 1);
    assert.equal(valueOf(families, 'berth_live_buffer_bytes'), hub.bufferedBytes);
    assert.equal(valueOf(families, 'berth_live_buffer_evicted_bytes_total', { reason: 'gap' }), stats.evictedByGap);
    assert.equal(valueOf(families, 'berth_live_buffer_evicted_bytes_total', { reason: 'taken' }), stats.taken);

    const replay = hub.open(
      await hub.claim(),
      'start',
      { stdout: true, stderr: true },
      { write: () => true, ended: () => undefined },
    );
    while (replay.lag > 0) await sleep(1);
    assert.equal(stats.logFallbacks, 2, 'who asks for everything has not fallen behind');
    replay.close();
    cursor.close();
    assert.equal(stats.active.size, 1, 'it waits for somebody to come back');
    shim.exit();
    assert.equal(stats.active.size, 0);
  } finally {
    shim.close();
    await rm(folder, { recursive: true });
  }
});
