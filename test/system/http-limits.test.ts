/** The streaming server's limits before a session, with the whole daemon and its settings file: late and long requests, too many connections. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AttachClient } from '../src/attach.ts';
import { TestDaemon } from '../src/daemon.ts';
import { RawConnection, upgradeHeaders } from '../src/http.ts';
import { runContainer, runPod, type TestContainer } from '../src/pods.ts';
import { eventually } from '../src/processes.ts';

/** More than a client takes that sleeps between its connection and its request. */
const HEADER_TIMEOUT_MS = 4_000;
/** Late requests are looked for every second; below the 10 s that they would have without the setting, ms. */
const LATE_MS = 9_000;
const MAX_HEADER_BYTES = 2_048;
const MAX_CONNECTIONS = 8;
const MAX_WAITING = 5;

const SETTINGS = `[streaming]
header_timeout_ms = ${HEADER_TIMEOUT_MS}
max_header_bytes = ${MAX_HEADER_BYTES}
max_connections = ${MAX_CONNECTIONS}
max_waiting_connections = ${MAX_WAITING}`;

const statusLine = ({ received }: RawConnection): string => received.toString('latin1').split('\r\n', 1)[0] ?? '';

const echo = async (daemon: TestDaemon): Promise<TestContainer> =>
  await runContainer(daemon, await runPod(daemon), 'while read -r line; do echo "got $line"; done', { stdin: true });

/** A session that was there before, and a new one, do what they always do. */
async function sessionWorks(client: AttachClient, word: string): Promise<void> {
  await client.send(`${word}\n`);
  await client.sees(new RegExp(`got ${word}\\n`));
}

test('requests that are late or never begin are ended in time, with 408; sessions and their URLs are not touched', async () => {
  await using daemon = await TestDaemon.start({ settings: SETTINGS });
  const container = await echo(daemon);
  using session = await AttachClient.open(await container.attachUrl());
  const url = await container.attachUrl();

  const began = performance.now();
  using silent = await RawConnection.open(daemon.streaming);
  using half = await RawConnection.open(daemon.streaming);
  half.socket.write(`GET ${new URL(url).pathname} HTTP/1.1\r\nHost: x\r\nUpgrade: web`);
  using slow = await RawConnection.open(daemon.streaming);
  slow.socket.write('GET /attach/x HTTP/1.1\r\n');
  const drip = setInterval(() => slow.socket.writable && slow.socket.write('X: y\r\n'), 50);
  try {
    await Promise.all([silent, half, slow].map(async (connection) => await connection.gone(LATE_MS)));
    assert.ok(performance.now() - began >= HEADER_TIMEOUT_MS / 2, 'they had their time');
  } finally {
    clearInterval(drip);
  }
  for (const connection of [silent, half, slow]) assert.match(statusLine(connection), /^HTTP\/1\.1 408 /);

  // What is no session ends with its answer, whatever the client would like.
  using answered = await RawConnection.open(daemon.streaming);
  assert.equal(await answered.request(`${daemon.streaming}/attach/nothing`, { Connection: 'keep-alive' }), 404);
  await answered.gone(LATE_MS);

  await sessionWorks(session, 'after');
  using late = await AttachClient.open(url);
  await sessionWorks(late, 'late');
});

test('a request line or headers beyond the limit are answered with 431, whatever they are for; the ticket stays valid', async () => {
  await using daemon = await TestDaemon.start({ settings: SETTINGS });
  const container = await echo(daemon);
  const url = await container.attachUrl();
  const answer = async (target: string, headers: Readonly<Record<string, string>>): Promise<number> => {
    using connection = await RawConnection.open(daemon.streaming);
    const status = await connection.request(target, headers);
    await connection.gone();
    return status;
  };
  const long = 'x'.repeat(MAX_HEADER_BYTES);
  const many = Object.fromEntries(Array.from({ length: MAX_HEADER_BYTES / 16 }, (_, i) => [`X-${i}`, 'y'.repeat(16)]));
  assert.equal(await answer(`${daemon.streaming}/attach/${long}`, {}), 431);
  assert.equal(await answer(url, { ...upgradeHeaders('v5.channel.k8s.io'), Cookie: long }), 431);
  assert.equal(await answer(url, { ...many, ...upgradeHeaders('v5.channel.k8s.io') }), 431);
  // What is just below is nobody's business.
  using proper = await RawConnection.open(daemon.streaming);
  const padding = 'x'.repeat(MAX_HEADER_BYTES / 2);
  assert.equal(await proper.request(url, { ...upgradeHeaders('v5.channel.k8s.io'), Cookie: padding }), 101);
});

test('connections beyond the limit are closed without an answer, an end makes room; the oldest that waits makes room for a proper client', async () => {
  await using daemon = await TestDaemon.start({
    settings: SETTINGS.replace(/header_timeout_ms = \d+/, 'header_timeout_ms = 600000'),
  });
  const container = await echo(daemon);
  const urls: string[] = [];
  for (let i = 0; i <= MAX_CONNECTIONS; i += 1) urls.push(await container.attachUrl());
  const [extra = '', ...others] = urls;

  // Those that say nothing take no place from those that do.
  const silent: RawConnection[] = [];
  for (let i = 0; i < 4 * MAX_WAITING; i += 1) silent.push(await RawConnection.open(daemon.streaming));
  const sessions: AttachClient[] = [];
  try {
    for (const url of others) sessions.push(await AttachClient.open(url));
    await eventually('those that say nothing have made room', () => silent.every(({ closed }) => closed));
    assert.ok(silent.every(({ received }) => received.length === 0));

    using refused = await RawConnection.open(daemon.streaming);
    refused.socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await refused.gone();
    assert.equal(refused.received.length, 0);
    await assert.rejects(AttachClient.open(extra));
    for (const [i, session] of sessions.entries()) await sessionWorks(session, `one-${i}`);
    assert.match(daemon.log(), /a connection was refused: streaming\.max_connections is reached/);

    sessions.pop()?.kill();
    const next = await eventually('an end makes room', async () => await AttachClient.open(extra).catch(() => undefined));
    sessions.push(next);
    await sessionWorks(next, 'room');
  } finally {
    for (const client of sessions) client.kill();
    for (const connection of silent) connection[Symbol.dispose]();
  }
});
