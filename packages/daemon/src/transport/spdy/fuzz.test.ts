// Clients that send anything: a fixed number of sessions from a fixed seed. Nothing may throw, hang, grow, or be told twice.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { test } from 'node:test';
import { FakeChannel } from '../../testing/fake-channel.ts';
import { noise, OddSpdyClient, pick, type Random } from '../../testing/odd-frames.ts';
import { synStream, TestHeaderEncoder } from '../../testing/spdy-client.ts';
import { MAX_PENDING_INPUT_BYTES } from '../limits.ts';
import { OUTBOUND_HIGH_WATER } from '../transport.ts';
import { TunnelChannel } from '../tunnel/tunnel-channel.ts';
import { clientFrame, randomFrom } from '../websocket/test-frames.ts';
import { MAX_HEADER_BLOCK_BYTES, MAX_HEADERS, MAX_QUEUED_ANSWERS_BYTES } from './constants.ts';
import { dataHead } from './frames.ts';
import { HeaderDecoder, HeaderError } from './header-decoder.ts';
import { SESSION_PROTOCOLS, type SessionProtocol } from './session-protocols.ts';
import { SpdyForward } from './spdy-forward.ts';
import { SpdyTransport } from './spdy-transport.ts';

const SESSIONS = 1_500;
const FRAMES = 40;
const BLOCKS = 20_000;
/** More than any single frame here. */
const SLACK_BYTES = 128 * 1024;
const LONG_MS = 600_000;
const TIMES = { streamsMs: LONG_MS, lastStreamMs: LONG_MS, unreadSignMs: LONG_MS, lostInputMs: 1 };

/** Sends the bytes in pieces of random lengths. */
function deliver(random: Random, bytes: Buffer, receive: (piece: Buffer) => void): void {
  for (let at = 0; at < bytes.length; ) {
    const to = random(3) === 0 ? bytes.length : Math.min(bytes.length, at + 1 + random(1 + random(5_000)));
    receive(Buffer.from(bytes.subarray(at, to)));
    at = to;
  }
}

test(`${SESSIONS} sessions of attach`, async () => {
  for (let seed = 1; seed <= SESSIONS; seed += 1) {
    const random = randomFrom(seed);
    const channel = new FakeChannel();
    channel.holds = random(2) === 0;
    const protocol = pick<SessionProtocol>(random, Object.values(SESSION_PROTOCOLS));
    const flag = (): boolean => random(2) === 0;
    const requested = { stdin: flag(), stdout: flag(), stderr: flag(), tty: flag() };
    const transport = new SpdyTransport({ channel, protocol, requested }, TIMES);
    const told: string[] = [];
    transport.start({
      stdin: () => told.push('stdin'),
      stdinEof: () => told.push('eof'),
      resize: ({ columns, rows }) => told.push(columns > 0 && rows > 0 ? 'resize' : 'bad size'),
      drain: () => told.push('drain'),
      closed: () => told.push('closed'),
    });
    const client = new OddSpdyClient(random);
    let finished: Promise<void> | undefined;
    for (let i = 0; i < FRAMES && !channel.isEnded; i += 1) {
      deliver(random, client.frame(), (piece) => channel.receive(piece));
      assert.ok(
        channel.queued <= OUTBOUND_HIGH_WATER + MAX_QUEUED_ANSWERS_BYTES + SLACK_BYTES,
        `seed ${seed}: ${channel.queued} queued`,
      );
      const act = random(30);
      if (act === 0) transport.pauseInput();
      else if (act === 1) transport.resumeInput();
      else if (act < 8) transport.write(pick(random, ['stdout', 'stderr']), Buffer.alloc(1 + random(70_000)));
      else if (act === 8) channel.drain();
      else if (act === 9 && finished === undefined) finished = transport.finish({ status: 'Success' });
      else if (act === 10) channel.peerEnds();
    }
    const before = told.length;
    if (random(4) === 0) transport.destroy();
    channel.close();
    transport.resumeInput();
    finished ??= transport.finish({ status: 'Success' });
    await finished;
    assert.ok(!told.includes('bad size'), `seed ${seed}`);
    assert.ok(told.filter((event) => event === 'eof').length <= 1, `seed ${seed}: ${told.join()}`);
    const eof = told.indexOf('eof');
    assert.ok(eof < 0 || !told.includes('stdin', eof), `seed ${seed}: input after its end`);
    const closed = told.indexOf('closed');
    assert.ok(closed < 0 || closed === told.length - 1, `seed ${seed}: ${told.slice(before).join()}`);
    assert.ok(requested.stdin || !(told.includes('stdin') || told.includes('eof')), `seed ${seed}: stdin was not asked for`);
  }
});

for (const tunnel of [false, true]) {
  test(`${SESSIONS} sessions of port-forward${tunnel ? ' in a tunnel' : ''}`, async () => {
    for (let seed = 1; seed <= SESSIONS; seed += 1) {
      const random = randomFrom(seed + SESSIONS);
      const channel = new FakeChannel();
      channel.fresh = true;
      channel.holds = random(2) === 0;
      const limits = { connectionBytes: 64 * 1024, sessionBytes: 128 * 1024, maxConnections: 4, pairMs: LONG_MS, lostInputMs: 1 };
      const forward = new SpdyForward(tunnel ? new TunnelChannel(channel) : channel, 'test', limits);
      const datas: import('node:stream').Duplex[] = [];
      let closed = 0;
      forward.start({
        connection: (connection) => {
          const { data, port } = connection;
          assert.ok(port >= 1 && port <= 65_535);
          assert.equal(closed, 0);
          datas.push(data);
          data.on('error', () => undefined);
          const what = random(5);
          if (what === 0) connection.fail('no');
          else if (what === 1) data.pipe(data);
          else if (what === 2) data.resume();
          else if (what === 3) data.end('bye');
        },
        closed: () => {
          closed += 1;
        },
      });
      const client = new OddSpdyClient(random);
      let finished: Promise<void> | undefined;
      for (let i = 0; i < FRAMES && !channel.isEnded; i += 1) {
        const frame = client.frame();
        const opcode = random(40) === 0 ? random(16) : 2;
        const bytes = tunnel ? clientFrame({ opcode, payload: frame.subarray(0, opcode === 2 ? undefined : 100) }) : frame;
        deliver(random, bytes, (piece) => channel.receive(piece));
        assert.ok(
          channel.queued <= OUTBOUND_HIGH_WATER + MAX_QUEUED_ANSWERS_BYTES + SLACK_BYTES,
          `seed ${seed}: ${channel.queued} queued`,
        );
        assert.ok(datas.filter(({ destroyed }) => !destroyed).length <= 4, `seed ${seed}`);
        const act = random(30);
        if (act === 0) datas.at(-1)?.destroy();
        else if (act === 1) datas.at(-1)?.write(Buffer.alloc(random(100_000)));
        else if (act < 4) channel.drain();
        else if (act === 4 && random(4) === 0) finished ??= forward.finish();
        if (random(4) === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      channel.close();
      finished ??= forward.finish();
      await finished;
      await new Promise((resolve) => setTimeout(resolve, seed % 50 === 0 ? 3 : 0));
      assert.ok(
        datas.every(({ destroyed }) => destroyed),
        `seed ${seed}: a connection is left`,
      );
      assert.ok(closed <= 1, `seed ${seed}`);
    }
  });
}

test(`${BLOCKS} header blocks: random, damaged, cut, doubled`, () => {
  const random = randomFrom(42);
  const outcomes = { read: 0, refused: 0 };
  for (let i = 0; i < BLOCKS; i += 1) {
    const encoder = new TestHeaderEncoder();
    const decoder = new HeaderDecoder();
    try {
      for (let n = 0; n < 3; n += 1) {
        let block = encoder.encode({ streamtype: 'data', port: String(random(70_000)), x: 'y'.repeat(random(300)) });
        const how = random(8);
        if (how === 0) block = noise(random, random(80));
        else if (how === 1) block = block.subarray(0, random(block.length + 1));
        else if (how === 2) block = Buffer.concat([block, block]);
        else if (how === 3) block = Buffer.concat([noise(random, random(60)), Buffer.from('0000ffff', 'hex')]);
        else if (how < 6) block[random(block.length)] = random(256);
        const headers = decoder.decode(block);
        assert.ok(headers.size <= MAX_HEADERS);
        assert.ok([...headers].flat().join('').length <= MAX_HEADER_BLOCK_BYTES);
        outcomes.read += 1;
      }
    } catch (error) {
      assert.ok(error instanceof HeaderError, String(error));
      outcomes.refused += 1;
    }
  }
  assert.ok(outcomes.read > BLOCKS / 4 && outcomes.refused > BLOCKS / 4, JSON.stringify(outcomes));
});

test('much input from many tiny frames into a session that takes none', () => {
  const channel = new FakeChannel();
  const protocol = SESSION_PROTOCOLS['v4.channel.k8s.io'] as SessionProtocol;
  const transport = new SpdyTransport(
    { channel, protocol, requested: { stdin: true, stdout: true, stderr: false, tty: false } },
    TIMES,
  );
  const ignore = (): void => undefined;
  transport.start({ stdin: ignore, stdinEof: ignore, resize: ignore, drain: ignore, closed: ignore });
  transport.pauseInput();
  channel.receive(synStream(1, new TestHeaderEncoder().encode({ streamtype: 'stdin' })));
  const frame = Buffer.concat([dataHead(1, 1), Buffer.from('x')]);
  let frames = 0;
  for (; !channel.paused; frames += 1) channel.receive(frame);
  assert.ok(frames <= MAX_PENDING_INPUT_BYTES / 256 + 1, `${frames} frames`);
  channel.close();
  transport.destroy();
});
