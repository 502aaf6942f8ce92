/** Stop signals by every name that CRI and images have for them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Signal } from '@berth/cri-api';
import { signalNumber, stopSignal } from './signals.ts';

test('names, numbers, real-time signals', () => {
  const cases: Readonly<Record<string, number | undefined>> = {
    SIGTERM: 15,
    TERM: 15,
    sigquit: 3,
    '9': 9,
    'SIGRTMIN+3': 37,
    'RTMAX-1': 63,
    SIGRTMIN: 34,
    RTMAX: 64,
    SIGCLD: 17,
    POLL: 29,
    '0': undefined,
    '65': undefined,
    'RTMIN+31': undefined,
    'RTMAX-31': undefined,
    NOTHING: undefined,
    '': undefined,
    '-9': undefined,
  }; // prettier-ignore
  for (const [text, number] of Object.entries(cases)) assert.equal(signalNumber(text), number, text);
});

test('every value of the CRI enumeration is a signal', () => {
  const values = Object.values(Signal).filter(
    (value): value is Signal => typeof value === 'number' && value !== Signal.RUNTIME_DEFAULT,
  );
  assert.equal(values.length, 65);
  for (const value of values) assert.ok(stopSignal(value, '') >= 1, Signal[value]);
  assert.equal(stopSignal(Signal.SIGRTMINPLUS15, ''), 49);
  assert.equal(stopSignal(Signal.SIGRTMAXMINUS14, ''), 50);
  assert.equal(stopSignal(Signal.SIGUSR1, 'SIGQUIT'), 10);
});

test('the image decides when the request does not; SIGTERM without either; nonsense is refused', () => {
  assert.equal(stopSignal(Signal.RUNTIME_DEFAULT, 'SIGQUIT'), 3);
  assert.equal(stopSignal(Signal.RUNTIME_DEFAULT, ''), 15);
  assert.throws(() => stopSignal(Signal.RUNTIME_DEFAULT, 'SIGNOPE'), /unknown signal "SIGNOPE"/);
});
