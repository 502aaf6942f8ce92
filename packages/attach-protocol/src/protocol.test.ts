// Vectors of the attach protocol: messages, base64, sizes and statuses, byte for byte.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { test } from 'node:test';
import {
  chooseSubprotocol,
  decodeBase64,
  decodeMessage,
  decodeStatus,
  encodeBase64,
  encodeClose,
  encodeMessage,
  encodeSize,
  encodeStatus,
  exitCodeOf,
  exitCodeStatus,
  failureStatus,
  SizeDecoder,
  SUBPROTOCOL_NAMES,
  SUBPROTOCOLS,
  subprotocolByName,
  successStatus,
} from './index.ts';

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const v5 = SUBPROTOCOLS['v5.channel.k8s.io'];
const v1 = SUBPROTOCOLS['channel.k8s.io'];
const base64 = SUBPROTOCOLS['v4.base64.channel.k8s.io'];

test('the subprotocol table says what each name does', () => {
  const rows = SUBPROTOCOL_NAMES.map((name) => {
    const { encoding, status, hasClose } = SUBPROTOCOLS[name];
    return `${name} ${encoding} ${status} ${hasClose}`;
  });
  assert.deepEqual(rows, [
    ' binary plain false',
    'channel.k8s.io binary plain false',
    'base64.channel.k8s.io base64 plain false',
    'v4.channel.k8s.io binary json false',
    'v4.base64.channel.k8s.io base64 json false',
    'v5.channel.k8s.io binary json true',
  ]);
  assert.equal(subprotocolByName('toString'), undefined);
});

test("the client's order chooses the subprotocol", () => {
  assert.equal(chooseSubprotocol([])?.name, '');
  assert.equal(chooseSubprotocol(['nope', 'channel.k8s.io', 'v5.channel.k8s.io'])?.name, 'channel.k8s.io');
  assert.equal(chooseSubprotocol(['v3.channel.k8s.io']), undefined);
  assert.equal(chooseSubprotocol(['']), undefined);
});

test('binary messages are the channel byte and the bytes', () => {
  assert.deepEqual(encodeMessage(v5, 0, Uint8Array.of(0, 255, 7)), Uint8Array.of(0, 0, 255, 7));
  assert.deepEqual(decodeMessage(v5, Uint8Array.of(1, 0, 255)), { channel: 1, payload: Uint8Array.of(0, 255) });
  assert.deepEqual(decodeMessage(v5, '\u0001hi'), { channel: 1, payload: utf8('hi') });
  assert.equal(decodeMessage(v5, new Uint8Array(0)), undefined);
  assert.deepEqual(encodeClose(0), Uint8Array.of(255, 0));
});

test('base64 messages are a digit and padded base64', () => {
  assert.equal(encodeMessage(base64, 1, utf8('hi')), '1aGk=');
  assert.equal(encodeMessage(base64, 1, new Uint8Array(0)), '1');
  assert.deepEqual(decodeMessage(base64, '2aGk='), { channel: 2, payload: utf8('hi') });
  assert.equal(decodeMessage(base64, '2aGk'), undefined);
  assert.equal(decodeMessage(base64, 'xaGk='), undefined);
});

test('base64 agrees with Node for every length and all byte values', () => {
  const all = Uint8Array.from({ length: 256 }, (_, i) => i);
  for (let length = 0; length <= all.length; length += 1) {
    const bytes = all.subarray(0, length);
    const text = encodeBase64(bytes);
    assert.equal(text, Buffer.from(bytes).toString('base64'));
    assert.deepEqual(decodeBase64(text), new Uint8Array(bytes));
  }
});

test('base64 that is none is refused, line ends are skipped', () => {
  for (const bad of ['a', 'aGk', 'aG=k', '====', 'a===', 'aGk=aGk=', 'aG k', 'aGk_', 'aGé=', 'aGk=\u0000']) {
    assert.equal(decodeBase64(bad), undefined, bad);
  }
  assert.deepEqual(decodeBase64('aG\r\nk=\n'), utf8('hi'));
});

test('sizes are read from JSON in any case, concatenated, cut anywhere', () => {
  const stream = utf8(
    '{"Width":80,"Height":24}\n{"height":25,"width":81}{"WIDTH":65535,"hEiGhT":1,"x":{"y":"}\\""}} {"width":0,"height":5}\t{"width":2,"height":3}',
  );
  const expected = [
    { columns: 80, rows: 24 },
    { columns: 81, rows: 25 },
    { columns: 65_535, rows: 1 },
    { columns: 2, rows: 3 },
  ];
  for (let cut = 0; cut <= stream.length; cut += 1) {
    const decoder = new SizeDecoder();
    assert.deepEqual([...decoder.push(stream.subarray(0, cut)), ...decoder.push(stream.subarray(cut))], expected, `cut at ${cut}`);
    assert.equal(decoder.broken, false);
  }
  assert.deepEqual(new SizeDecoder().push(encodeSize({ columns: 132, rows: 50 })), [{ columns: 132, rows: 50 }]);
});

test('what does not decode ends the reading of sizes', () => {
  for (const bad of [
    'x',
    '[80,24]',
    '80',
    '{"width":65536,"height":1}',
    '{"width":-1,"height":1}',
    '{"width":1.5,"height":1}',
    '{"width":"80","height":24}',
    '{width:80}',
    '{"width":80,,}',
    `{"a":"${'x'.repeat(5000)}`,
  ]) {
    const decoder = new SizeDecoder();
    assert.deepEqual(decoder.push(utf8(`{"width":9,"height":8}${bad}{"width":1,"height":1}`)), [{ columns: 9, rows: 8 }], bad);
    assert.equal(decoder.broken, true, bad);
    assert.deepEqual(decoder.push(utf8('{"width":1,"height":1}')), [], bad);
  }
});

test('statuses are JSON since v4 and text on failure before', () => {
  const text = (bytes: Uint8Array | undefined): string | undefined =>
    bytes === undefined ? undefined : new TextDecoder().decode(bytes);
  assert.equal(text(encodeStatus(v5, successStatus())), '{"metadata":{},"status":"Success"}');
  assert.equal(encodeStatus(v1, successStatus()), undefined);
  assert.equal(
    text(encodeStatus(base64, failureStatus('it broke'))),
    '{"metadata":{},"status":"Failure","message":"it broke","reason":"InternalError","code":500}',
  );
  assert.equal(text(encodeStatus(v1, failureStatus('it broke'))), 'it broke');
  assert.equal(
    text(encodeStatus(v5, exitCodeStatus(7))),
    '{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: exit status 7","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]},"code":500}',
  );
});

test('clients read statuses back, with the exit code', () => {
  const back = (status: Parameters<typeof encodeStatus>[1]): ReturnType<typeof decodeStatus> =>
    decodeStatus(v5, encodeStatus(v5, status) ?? new Uint8Array(0));
  const seven = back(exitCodeStatus(7));
  assert.ok(seven);
  for (const method of ['attach', 'exec'] as const) {
    assert.equal(exitCodeOf(seven, method), 7);
    assert.equal(exitCodeOf(failureStatus('x'), method), undefined);
  }
  assert.equal(exitCodeOf(successStatus(), 'exec'), 0);
  assert.equal(exitCodeOf(successStatus(), 'attach'), undefined, 'the container may have ended with any code, or go on');
  assert.deepEqual(back(successStatus()), successStatus());
  assert.equal(decodeStatus(v5, utf8('nonsense')), undefined);
  assert.equal(decodeStatus(v5, utf8('{"status":"Maybe"}')), undefined);
  assert.equal(decodeStatus(v5, utf8('{"status":"Failure","details":{"causes":[null]}}')), undefined);
  assert.equal(decodeStatus(v5, new Uint8Array(0)), undefined);
  assert.equal(decodeStatus(v1, utf8('broke'))?.message, 'broke');
});
