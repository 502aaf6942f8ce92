// A session's transport without a wire: which streams it waits for, what it holds back, its waiting times, how it ends.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { FakeChannel } from '../../testing/fake-channel.ts';
import { synStream, TestHeaderEncoder } from '../../testing/spdy-client.ts';
import { MAX_PENDING_INPUT_BYTES } from '../limits.ts';
import { OUTBOUND_HIGH_WATER, type SessionStatus } from '../transport.ts';
import type { RequestedStreams } from '../upgrade.ts';
import { FrameParser } from './frame-parser.ts';
import { dataHead, rstStream } from './frames.ts';
import { SESSION_PROTOCOLS, type SessionProtocol } from './session-protocols.ts';
import { SpdyTransport, type SpdyTimes } from './spdy-transport.ts';

const LONG_MS = 60_000;
const TIMES: SpdyTimes = { streamsMs: LONG_MS, lastStreamMs: LONG_MS, unreadSignMs: LONG_MS, lostInputMs: LONG_MS };
const SUCCESS = { status: 'Success' } as const;
const SUCCESS_JSON = '{"metadata":{},"status":"Success"}';

type Under = {
  readonly channel: FakeChannel;
  readonly transport: SpdyTransport;
  readonly events: string[];
  /** Opens a stream of a kind; gives its id. */
  readonly open: (kind: string) => number;
  /** What was sent since it was asked last, data of one frame shortened to its length where it is long. */
  readonly sent: () => string[];
};

type Options = { readonly requested?: Partial<RequestedStreams>; readonly protocol?: string; readonly times?: Partial<SpdyTimes> };

function make(options: Options = {}): Under {
  const channel = new FakeChannel();
  const protocol = SESSION_PROTOCOLS[options.protocol ?? 'v4.channel.k8s.io'] as SessionProtocol;
  const requested = { stdin: true, stdout: true, stderr: true, tty: false, ...options.requested };
  const transport = new SpdyTransport({ channel, protocol, requested }, { ...TIMES, ...options.times });
  const events: string[] = [];
  transport.start({
    stdin: (chunk) => events.push(chunk.length > 20 ? `stdin of ${chunk.length}` : `stdin ${Buffer.from(chunk).toString()}`),
    stdinEof: () => events.push('eof'),
    resize: ({ columns, rows }) => events.push(`${columns}x${rows}`),
    drain: () => events.push('drain'),
    closed: (reason) => events.push(`closed: ${reason}`),
  });
  const encoder = new TestHeaderEncoder();
  let next = 1;
  return {
    channel,
    transport,
    events,
    open: (kind) => {
      const id = next;
      next += 2;
      channel.receive(synStream(id, encoder.encode(kind === '' ? {} : { streamtype: kind })));
      return id;
    },
    sent: () => frames(channel.take()),
  };
}

function frames(bytes: Buffer): string[] {
  const found: string[] = [];
  const parser = new FrameParser({
    synStream: ({ id }) => found.push(`SYN_STREAM ${id}`),
    headers: ({ id }) => found.push(`reply ${id}`),
    rstStream: (id, status) => found.push(`reset ${id} ${status}`),
    ping: (id) => found.push(`ping ${id}`),
    goAway: (_, status) => found.push(`goaway ${status}`),
    data: (id, piece) => found.push(`${id}: ${piece.length > 100 ? piece.length : piece.toString()}`),
    fin: (id) => found.push(`fin ${id}`),
    failed: (reason) => found.push(`broken: ${reason}`),
  });
  parser.push(bytes);
  return found;
}

/** Opens all that was asked for; gives the ids. */
function openAll(under: Under, ...more: string[]): Record<string, number> {
  const ids = Object.fromEntries(['error', 'stdin', 'stdout', 'stderr', ...more].map((kind) => [kind, under.open(kind)]));
  under.channel.take();
  return ids;
}

test('output waits for all streams that were asked for, then goes in order', () => {
  const under = make();
  const { channel, transport, open, sent, events } = under;
  assert.equal(transport.protocol, 'SPDY/3.1 v4.channel.k8s.io');
  assert.equal(transport.write('stdout', Buffer.from('early')), true);
  for (const kind of ['error', 'stdin', 'stdout']) open(kind);
  assert.equal(transport.write('stderr', Buffer.from('as well')), true);
  assert.deepEqual(sent(), ['reply 1', 'reply 3', 'reply 5']);
  open('stderr');
  assert.deepEqual(sent(), ['reply 7', '5: early', '7: as well']);
  transport.write('stdout', Buffer.from('now'));
  assert.deepEqual(sent(), ['5: now']);
  assert.deepEqual(events, []);
  channel.close();
});

test('while streams are missing as much is held as may be queued, and no more', () => {
  const { channel, transport, open, sent, events } = make({ requested: { stderr: false } });
  const chunk = Buffer.alloc(32 * 1024);
  let written = 1;
  while (transport.write('stdout', chunk)) written += 1;
  assert.equal(written * chunk.length, OUTBOUND_HIGH_WATER);
  for (const kind of ['error', 'stdin']) open(kind);
  assert.deepEqual(events, []);
  channel.holds = true;
  open('stdout');
  assert.equal(sent().filter((frame) => frame === `5: ${chunk.length}`).length, written);
  assert.deepEqual(events, [], 'the connection is as full as the gate was');
  channel.drain();
  assert.deepEqual(events, ['drain']);
  channel.close();
});

test('a chunk goes to the wire as it is', () => {
  const under = make();
  openAll(under);
  const parts: Uint8Array[] = [];
  under.channel.write = (written) => void parts.push(...written);
  const chunk = Buffer.from('shared');
  under.transport.write('stdout', chunk);
  assert.equal(parts[1], chunk);
});

test('what was not asked for is accepted and ended, what nobody knows is reset', () => {
  const { open, sent, channel, events, transport } = make({ requested: { stdin: false, stderr: false } });
  open('error');
  open('stdin');
  open('stderr');
  open('stdout');
  open('stdout');
  open('kitchen sink');
  open('');
  assert.deepEqual(sent(), ['reply 1', 'reply 3', 'fin 3', 'reply 5', 'fin 5', 'reply 7', 'reset 9 1', 'reset 11 1', 'reset 13 1']);
  channel.receive(dataHead(3, 2, true), Buffer.from('in'), dataHead(7, 1), Buffer.from('x'), dataHead(1, 1), Buffer.from('x'));
  assert.equal(transport.write('stderr', Buffer.from('not asked for')), true);
  assert.deepEqual(sent(), []);
  assert.deepEqual(events, []);
});

test('input, its end, sizes', () => {
  const under = make();
  const { stdin = 0, resize = 0 } = openAll(under, 'resize');
  const size = Buffer.from('{"Width":80,"Height":24}\n{"Width":0,"Height":1}{"Wid');
  under.channel.receive(dataHead(stdin, 2), Buffer.from('ab'), dataHead(resize, size.length), size);
  under.channel.receive(dataHead(resize, 17), Buffer.from('th":81,"height":9'), dataHead(resize, 1), Buffer.from('}'));
  under.channel.receive(dataHead(stdin, 1, true), Buffer.from('c'), dataHead(stdin, 4), Buffer.from('late'));
  assert.deepEqual(under.events, ['stdin ab', '80x24', '81x9', 'stdin c', 'eof']);
});

test('a reset of stdin is its end, a reset of stdout only spares the bytes', () => {
  const under = make();
  const { stdin = 0, stdout = 0, stderr = 0 } = openAll(under);
  under.channel.receive(rstStream(stdout, 5), rstStream(stdin, 5));
  assert.deepEqual(under.events, ['eof']);
  assert.equal(under.transport.write('stdout', Buffer.from('x')), true);
  under.transport.write('stderr', Buffer.from('y'));
  assert.deepEqual(under.sent(), [`${stderr}: y`]);
});

const FAILURE: SessionStatus = { status: 'Failure', reason: 'LagLimit', message: 'too far behind', code: 500 };
for (const [protocol, status, expected] of [
  ['v4.channel.k8s.io', SUCCESS, [`1: ${SUCCESS_JSON}`]],
  [
    'v4.channel.k8s.io',
    FAILURE,
    ['1: {"metadata":{},"status":"Failure","message":"too far behind","reason":"LagLimit","code":500}'],
  ],
  ['v3.channel.k8s.io', SUCCESS, []],
  ['v3.channel.k8s.io', FAILURE, ['1: too far behind']],
  ['v2.channel.k8s.io', SUCCESS, []],
  ['channel.k8s.io', FAILURE, ['1: too far behind']],
] as const) {
  test(`${protocol}, ${status.status}: output, ends, status, GOAWAY`, async () => {
    const under = make({ protocol });
    openAll(under);
    under.transport.write('stdout', Buffer.from('last words'));
    const finished = under.transport.finish(status);
    assert.equal(under.transport.finish(SUCCESS), finished, 'idempotent');
    assert.deepEqual(under.sent(), ['5: last words', 'fin 3', 'fin 5', 'fin 7', ...expected, 'fin 1', 'goaway 0']);
    assert.equal(under.channel.isEnded, true);
    assert.equal(under.channel.leavesEndToPeer, true, 'clients close when their streams have ended');
    assert.equal(under.transport.write('stdout', Buffer.from('late')), true);
    under.channel.receive(dataHead(3, 1), Buffer.from('x'));
    under.channel.close();
    await finished;
    assert.deepEqual(under.events, []);
  });
}

test('a session that ends before its streams are there tells its status when they are', async () => {
  const { transport, open, sent, channel } = make();
  transport.write('stdout', Buffer.from('quick'));
  const finished = transport.finish(SUCCESS);
  open('error');
  open('stdin');
  open('stdout');
  assert.equal(channel.isEnded, false);
  open('stderr');
  const replies = ['reply 1', 'reply 3', 'reply 5', 'reply 7'];
  assert.deepEqual(sent(), [...replies, '5: quick', 'fin 3', 'fin 5', 'fin 7', `1: ${SUCCESS_JSON}`, 'fin 1', 'goaway 0']);
  channel.close();
  await finished;
});

test('with a terminal, a few frames go until the stream for sizes is there, and the end waits for it', async () => {
  const { transport, open, sent, channel, events } = make({ requested: { stderr: false, tty: true } });
  for (const kind of ['error', 'stdin', 'stdout']) open(kind);
  sent();
  const chunk = Buffer.alloc(1_000);
  for (let i = 0; i < 100; i += 1) transport.write('stdout', chunk);
  assert.equal(sent().length, 32);
  void transport.finish(SUCCESS);
  assert.deepEqual(sent(), []);
  open('resize');
  const last = sent();
  assert.equal(last.filter((frame) => frame === '5: 1000').length, 68);
  assert.deepEqual(last.slice(-4), ['fin 5', `1: ${SUCCESS_JSON}`, 'fin 1', 'goaway 0']);
  channel.close();
  assert.deepEqual(events, []);
});

for (const [what, requested, kinds] of [
  ['a client without a terminal opens stderr', { stderr: true }, ['error', 'stdin', 'stdout', 'stderr']],
  ['a client with one opens none', { stderr: true }, ['error', 'stdin', 'stdout', 'resize']],
  ['stderr was not asked for', { stderr: false }, ['error', 'stdin', 'stdout', 'stderr']],
] as const) {
  test(`a container with a terminal: ${what}`, () => {
    const { transport, open, sent, channel } = make({ requested: { ...requested, tty: true } });
    for (const kind of kinds) open(kind);
    void transport.finish(SUCCESS);
    assert.equal(sent().at(-1), 'goaway 0');
    channel.close();
  });
}

test('the stream for sizes may stay away', async () => {
  const times = { lastStreamMs: 50 };
  const { transport, open, sent, channel } = make({ requested: { stderr: false, tty: true }, times });
  for (const kind of ['error', 'stdin', 'stdout']) open(kind);
  for (let i = 0; i < 100; i += 1) transport.write('stdout', Buffer.alloc(1_000));
  assert.equal(sent().filter((frame) => frame === '5: 1000').length, 32);
  await sleep(100);
  assert.equal(sent().filter((frame) => frame === '5: 1000').length, 68);
  void transport.finish(SUCCESS);
  assert.equal(sent().at(-1), 'goaway 0');
  channel.close();
});

test('before v3 there are no sizes to wait for', () => {
  const { transport, open, sent, channel } = make({ protocol: 'v2.channel.k8s.io', requested: { stderr: false, tty: true } });
  for (const kind of ['error', 'stdin', 'stdout']) open(kind);
  void transport.finish(SUCCESS);
  assert.equal(sent().at(-1), 'goaway 0');
  channel.close();
});

test('a client that does not open its streams in time is told so where it can be, and is lost', async () => {
  const withError = make({ times: { streamsMs: 40 } });
  withError.open('error');
  await sleep(80);
  const message = 'the client has not opened its streams within 0.04 s';
  const status = `{"metadata":{},"status":"Failure","message":"${message}","reason":"InternalError","code":500}`;
  assert.deepEqual(withError.sent(), ['reply 1', `1: ${status.length}`, 'fin 1', 'goaway 0']);
  assert.deepEqual(withError.events, [`closed: ${message}`]);
  assert.equal(withError.channel.isEnded, true);
  assert.equal(withError.channel.leavesEndToPeer, false, 'it does not know yet that all is over');
  const finished = withError.transport.finish(SUCCESS);
  withError.channel.close();
  await finished;

  const silent = make({ times: { streamsMs: 40 } });
  await sleep(80);
  assert.deepEqual(silent.sent(), ['goaway 0']);
  assert.deepEqual(silent.events, [`closed: ${message}`]);

  const over = make({ times: { streamsMs: 40 } });
  over.open('error');
  void over.transport.finish(SUCCESS);
  await sleep(80);
  assert.deepEqual(over.sent(), ['reply 1', `1: ${SUCCESS_JSON}`, 'fin 1', 'goaway 0']);
  assert.deepEqual(over.events, []);
});

test('input that is not taken stops the reading, and starts it again at half', () => {
  const under = make();
  const { stdin = 0 } = openAll(under);
  const piece = Buffer.alloc(16 * 1024);
  under.transport.pauseInput();
  let sent = 0;
  while (!under.channel.paused) {
    under.channel.receive(dataHead(stdin, piece.length), piece);
    sent += piece.length;
  }
  assert.ok(sent >= MAX_PENDING_INPUT_BYTES - piece.length && sent <= MAX_PENDING_INPUT_BYTES + piece.length, `${sent}`);
  assert.deepEqual(under.events, []);
  under.transport.resumeInput();
  assert.equal(under.channel.paused, false);
  assert.equal(under.events.length * piece.length, sent);
});

test('the loss of a client is told behind its input, or when its time is over', async () => {
  const taken = make();
  const ids = openAll(taken);
  taken.transport.pauseInput();
  taken.channel.receive(dataHead(ids['stdin'] ?? 0, 2), Buffer.from('in'));
  taken.channel.peerEnds();
  assert.deepEqual(taken.events, []);
  taken.transport.resumeInput();
  assert.deepEqual(taken.events, ['stdin in', 'closed: client went away']);

  const left = make({ times: { lostInputMs: 40 } });
  openAll(left);
  left.transport.pauseInput();
  left.channel.receive(dataHead(3, 2), Buffer.from('in'));
  left.channel.close();
  await sleep(80);
  assert.deepEqual(left.events, ['closed: connection lost: ECONNRESET']);
});

test('destroy tells the session', async () => {
  const { transport, channel, events, open } = make();
  open('error');
  transport.destroy();
  await sleep(1);
  assert.equal(channel.isDestroyed, true);
  assert.deepEqual(events, ['closed: ended by the server']);
  await transport.finish(SUCCESS);
});

test('a session that fails before it has begun is finished all the same', async () => {
  const channel = new FakeChannel();
  const protocol = SESSION_PROTOCOLS['v4.channel.k8s.io'] as SessionProtocol;
  const requested = { stdin: false, stdout: true, stderr: false, tty: false };
  const transport = new SpdyTransport({ channel, protocol, requested }, TIMES);
  const finished = transport.finish(FAILURE);
  assert.equal(channel.started, true);
  channel.close();
  await finished;
});
