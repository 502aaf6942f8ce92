/** What reads the daemon's own log has stopped, or its disk is full: calls, sessions and the daemon's end go on as if it were not there. */
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { parseExposition, valueOf } from '../../packages/daemon/src/testing/parse-exposition.ts';
import { pipeEnds, takeText } from '../../packages/daemon/src/testing/pipe-ends.ts';
import { AttachClient } from '../src/attach.ts';
import { TestDaemon } from '../src/daemon.ts';
import { runContainer, runPod } from '../src/pods.ts';
import { eventually } from '../src/processes.ts';

/** More calls than a pipe and the queue before it take lines of: each is a line of some 110 bytes at level debug, and there is room for 1.1 MB. */
const CALLS = 20_000;
const SETTINGS = { logLevel: 'debug', settings: '[metrics]\naddress = "127.0.0.1:0"\n' } as const;

async function lostLines(daemon: TestDaemon): Promise<number> {
  const response = await fetch(daemon.metrics);
  return valueOf(parseExposition(await response.text()), 'berth_daemon_log_lost_lines_total');
}

async function manyCalls(daemon: TestDaemon): Promise<void> {
  for (let n = 0; n < CALLS; n += 100)
    await Promise.all(Array.from({ length: 100 }, () => daemon.client.runtime.listContainers({})));
}

/** A container answers an attached client, and ends with its true code. */
async function worksAsEver(daemon: TestDaemon): Promise<void> {
  const container = await runContainer(daemon, await runPod(daemon), 'read -r line; echo "got $line"; exit 3', { stdin: true });
  using client = await AttachClient.open(await container.attachUrl());
  await client.send('a line\n');
  await client.ended();
  assert.equal(client.stdout.text(), 'got a line\n');
  assert.equal((await container.exited()).exitCode, 3);
}

test('what reads the log has stopped: nothing waits for it; what it missed is counted, and said once it reads again', async () => {
  const [reader, writer] = pipeEnds();
  try {
    await using daemon = await TestDaemon.start({ ...SETTINGS, logTo: writer });
    await manyCalls(daemon);
    await worksAsEver(daemon);
    assert.ok((await lostLines(daemon)) > 0);

    let text = '';
    await eventually('the log says what is missing', () => {
      text += takeText(reader);
      return text.includes('"lost":');
    });
    const lines = text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as { level: string; lost?: number });
    const said = lines.filter(({ lost }) => lost !== undefined);
    assert.ok(said.every(({ level }) => level === 'warn'));
    const missing = await lostLines(daemon);
    assert.equal(
      said.reduce((sum, { lost }) => sum + (lost ?? 0), 0),
      missing,
    );
    // It stops again, and the daemon ends all the same when told to; its end checks that it does, and that nothing is left.
    await manyCalls(daemon);
    assert.ok((await lostLines(daemon)) > missing);
  } finally {
    closeSync(reader);
    closeSync(writer);
  }
});

test('the disk of the log is full: the daemon goes on', async () => {
  const full = openSync('/dev/full', 'w');
  try {
    await using daemon = await TestDaemon.start({ ...SETTINGS, logTo: full });
    await worksAsEver(daemon);
    assert.ok((await lostLines(daemon)) > 0);
  } finally {
    closeSync(full);
  }
});
