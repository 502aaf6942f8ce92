// Tickets: once, in time, bounded, with a clock of the test's own.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BerthError } from '../util/errors.ts';
import { type AttachTicket, targetOf } from './handler.ts';
import { type TicketClock, Tickets } from './tickets.ts';

const ticketOf = (containerId: string): AttachTicket => ({
  method: 'attach',
  containerId,
  stdin: true,
  stdout: true,
  stderr: false,
  tty: false,
  claim: Symbol(containerId),
});

/** Rings its alarm when the time is moved past it. */
class ManualClock implements TicketClock {
  #now = 1_000;
  #alarms: { at: number; ring: () => void }[] = [];

  get alarms(): number {
    return this.#alarms.length;
  }

  now(): number {
    return this.#now;
  }

  alarm(ms: number, ring: () => void): () => void {
    const alarm = { at: this.#now + ms, ring };
    this.#alarms.push(alarm);
    return () => {
      this.#alarms = this.#alarms.filter((each) => each !== alarm);
    };
  }

  /** `ring: false` is a process that was too busy for its timers. */
  move(ms: number, ring = true): void {
    this.#now += ms;
    const due = ring ? this.#alarms.filter((each) => each.at <= this.#now) : [];
    this.#alarms = this.#alarms.filter((each) => !due.includes(each));
    for (const alarm of due) alarm.ring();
  }
}

function make(max = 3): { tickets: Tickets; clock: ManualClock; expired: string[] } {
  const clock = new ManualClock();
  const expired: string[] = [];
  const tickets = new Tickets({ ttlMs: 60_000, max, clock, expired: (ticket) => expired.push(targetOf(ticket)) });
  return { tickets, clock, expired };
}

test('a token is 32 characters for a URL and never the same', () => {
  const { tickets } = make(1_000);
  const tokens = new Set(Array.from({ length: 1_000 }, () => tickets.issue(ticketOf('a'))));
  assert.equal(tokens.size, 1_000);
  for (const token of tokens) assert.match(token, /^[A-Za-z0-9_-]{32}$/);
});

test('a ticket can be looked at often and taken once', () => {
  const { tickets, expired } = make();
  const ticket = ticketOf('a');
  const token = tickets.issue(ticket);
  assert.equal(tickets.peek(token, 'attach'), ticket);
  assert.equal(tickets.peek(token, 'attach'), ticket);
  assert.equal(tickets.take(token, 'attach'), ticket);
  assert.equal(tickets.take(token, 'attach'), undefined);
  assert.equal(tickets.peek(token, 'attach'), undefined);
  assert.deepEqual(expired, []);
});

test('other tokens have no ticket', () => {
  const { tickets } = make();
  const token = tickets.issue(ticketOf('a'));
  for (const other of [
    '',
    'x',
    token.slice(1),
    `${token}A`,
    'A'.repeat(32),
    token.toLowerCase() === token ? 'B'.repeat(32) : token.toLowerCase(),
  ]) {
    assert.equal(tickets.peek(other, 'attach'), undefined, other);
  }
  assert.equal(tickets.peek(token, 'exec'), undefined, 'a ticket of another method');
  assert.notEqual(tickets.peek(token, 'attach'), undefined);
});

test('a ticket expires after its time and is dropped, by one alarm', () => {
  const { tickets, clock, expired } = make();
  const a = tickets.issue(ticketOf('a'));
  clock.move(30_000);
  const b = tickets.issue(ticketOf('b'));
  assert.equal(clock.alarms, 1);
  clock.move(29_999);
  assert.notEqual(tickets.peek(a, 'attach'), undefined);
  clock.move(1);
  assert.equal(tickets.peek(a, 'attach'), undefined);
  assert.deepEqual(expired, ['a']);
  assert.notEqual(tickets.peek(b, 'attach'), undefined);
  assert.equal(clock.alarms, 1);
  clock.move(30_000);
  assert.deepEqual(expired, ['a', 'b']);
  assert.equal(clock.alarms, 0);
});

test('an expired ticket is useless even before its alarm', () => {
  const { tickets, clock, expired } = make();
  const token = tickets.issue(ticketOf('a'));
  clock.move(60_000, false);
  assert.equal(tickets.take(token, 'attach'), undefined);
  clock.move(0);
  assert.deepEqual(expired, ['a']);
});

test('no more tickets than allowed; used and expired ones make room', () => {
  const { tickets, clock } = make(2);
  const token = tickets.issue(ticketOf('a'));
  tickets.issue(ticketOf('b'));
  assert.throws(
    () => tickets.issue(ticketOf('c')),
    (error) => error instanceof BerthError && error.kind === 'resource-exhausted' && error.code === 'TOO_MANY_TICKETS',
  );
  tickets.take(token, 'attach');
  tickets.issue(ticketOf('d'));
  clock.move(60_000, false);
  tickets.issue(ticketOf('e'));
  assert.equal(tickets.size, 1);
});

test('closing drops every unused ticket', () => {
  const { tickets, clock, expired } = make();
  const a = tickets.issue(ticketOf('a'));
  tickets.issue(ticketOf('b'));
  tickets.take(a, 'attach');
  tickets.close();
  assert.deepEqual(expired, ['b']);
  assert.equal(clock.alarms, 0);
});
