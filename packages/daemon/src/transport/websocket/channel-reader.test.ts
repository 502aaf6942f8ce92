// Messages to input, EOF and sizes, for each kind of subprotocol.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { test } from 'node:test';
import { SUBPROTOCOLS, type SubprotocolName } from '@berth/attach-protocol';
import { collectGarbage } from '../../testing/collect-garbage.ts';
import { ChannelReader } from './channel-reader.ts';

/** Feeds messages, each a list of pieces; consecutive input is joined. */
function read(name: SubprotocolName, messages: readonly (readonly (Buffer | string)[])[], stdin = true): string[] {
  const events: string[] = [];
  const reader = new ChannelReader(SUBPROTOCOLS[name], stdin, {
    stdin: (piece) => events.push(`stdin ${piece.toString('latin1')}`),
    stdinEof: () => events.push('eof'),
    resize: ({ columns, rows }) => events.push(`size ${columns}x${rows}`),
    malformed: (reason) => events.push(reason),
  });
  for (const pieces of messages) {
    reader.messageStart();
    for (const piece of pieces) reader.messagePiece(Buffer.from(piece));
    reader.messageEnd();
  }
  return events;
}

test('binary input is handed on piece by piece; only the first byte is the channel', () => {
  assert.deepEqual(read('v4.channel.k8s.io', [['\0ab', '\0c'], ['\0'], ['\0', 'de']]), ['stdin ab', 'stdin \0c', 'stdin de']);
});

test('channels that are unknown, only to be written or not asked for are dropped', () => {
  assert.deepEqual(
    read('v4.channel.k8s.io', [['\u0001x'], ['\u0002x'], ['\u0003x'], ['\u0005x'], ['9x'], [], [Buffer.of(255, 0)]]),
    [],
  );
  assert.deepEqual(read('v5.channel.k8s.io', [['\0x'], [Buffer.of(255, 0)]], false), []);
});

test('CLOSE of stdin is its end, once, and what follows is discarded', () => {
  const close = Buffer.of(255, 0);
  assert.deepEqual(read('v5.channel.k8s.io', [['\0a'], [close], ['\0b'], [close]]), ['stdin a', 'eof']);
  assert.deepEqual(read('v5.channel.k8s.io', [[close.subarray(0, 1), close.subarray(1)]]), ['eof']);
});

test('CLOSE of resize stops sizes, of the others it does nothing', () => {
  const size = '\u0004{"Width":80,"Height":24}\n';
  assert.deepEqual(read('v5.channel.k8s.io', [[size], [Buffer.of(255, 1)], [size], [Buffer.of(255, 4)], [size]]), [
    'size 80x24',
    'size 80x24',
  ]);
});

test('a CLOSE that is none is malformed', () => {
  for (const bad of [
    Buffer.of(255),
    Buffer.of(255, 5),
    Buffer.of(255, 255),
    Buffer.of(255, 0, 0),
    Buffer.concat([Buffer.of(255), Buffer.alloc(900)]),
  ]) {
    assert.deepEqual(read('v5.channel.k8s.io', [[bad]]), ['malformed CLOSE'], bad.subarray(0, 4).toString('hex'));
  }
});

test('sizes are a stream over messages and pieces', () => {
  const messages = [['\u0004{"width":1', '00,"hei'], ['\u0004ght":50}{"Width":0,"Height":9}{"WIDTH":7,"HEIGHT":8}']];
  assert.deepEqual(read('channel.k8s.io', messages), ['size 100x50', 'size 7x8']);
  assert.deepEqual(read('channel.k8s.io', [['\u0004nonsense'], ['\u0004{"width":1,"height":1}'], ['\0in']]), ['stdin in']);
});

test('base64 messages are decoded whole, bad ones dropped whole', () => {
  const protocol = 'v4.base64.channel.k8s.io';
  assert.deepEqual(read(protocol, [['0aGVs', 'bG8='], ['0'], ['0!!!!'], ['0aGVsbG8'], ['0aGk=\n'], ['5aGk='], ['1aGk=']]), [
    'stdin hello',
    'stdin hi',
  ]);
  const size = Buffer.from('{"Width":3,"Height":4}').toString('base64');
  assert.deepEqual(read(protocol, [[`4${size}`], [Buffer.of(255, 0)]]), ['size 3x4']);
});

test('a CLOSE in many fragments keeps none of the reads that they came with', async () => {
  const reader = new ChannelReader(SUBPROTOCOLS['v5.channel.k8s.io'], true, {
    stdin: () => undefined,
    stdinEof: () => undefined,
    resize: () => undefined,
    malformed: () => undefined,
  });
  reader.messageStart();
  reader.messagePiece(Buffer.of(255));
  const reads = Array.from({ length: 200 }, () => {
    const read = new ArrayBuffer(64 * 1024);
    reader.messagePiece(Buffer.from(read, 0, 1));
    return new WeakRef(read);
  });
  // What a WeakRef has shown lives to the end of the turn.
  await new Promise((resolve) => setImmediate(resolve));
  collectGarbage();
  assert.ok(reads.filter((read) => read.deref() !== undefined).length < 10);
  reader.messageEnd();
});
