// The sessions' own service: what a list says of each kind, and who kills.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ListSessionsResponseSchema, type Session } from '@berth/cri-api/berth';
import { create } from '@bufbuild/protobuf';
import type { Ticket } from '../streaming/handler.ts';
import { LiveSessions } from '../streaming/live-sessions.ts';
import { SUCCESS } from '../streaming/session-status.ts';
import { BerthError } from '../util/errors.ts';
import { silentLog } from '../util/log.ts';
import { berthSessions } from './berth-sessions.ts';

const PEER = { remoteAddress: '127.0.0.1', remotePort: 4711 };
const STREAMS = { containerId: 'c'.repeat(64), stdin: true, stdout: true, stderr: false, tty: true };
const ATTACH: Ticket = { method: 'attach', ...STREAMS, claim: Symbol('claim') };
const EXEC: Ticket = { method: 'exec', ...STREAMS, command: ['sh', '-c', 'secret'] };
const FORWARD: Ticket = { method: 'portforward', podId: 'p'.repeat(64), ports: [80] };

const ENDLESS = {
  protocol: 'wire',
  start: () => undefined,
  finish: async () => undefined,
  destroy: () => undefined,
  write: () => true,
  flushed: true,
  unsent: async () => await Promise.resolve(0),
  pauseInput: () => undefined,
  resumeInput: () => undefined,
};

/** Calls a handler as the adapter does. */
async function call(live: LiveSessions, name: string, request: object): Promise<object> {
  const method = berthSessions({ sessions: live }).methods.find(({ descriptor }) => descriptor.name === name);
  return (await method?.handler?.(request as never, undefined as never)) ?? {};
}

const list = async (live: LiveSessions): Promise<Session[]> =>
  create(ListSessionsResponseSchema, await call(live, 'List', {})).sessions;

test('every kind is listed with what it has', async () => {
  const live = new LiveSessions({
    log: silentLog,
    names: () => ({ containerName: 'n', podId: 'p', podName: 'pn', podNamespace: 'ns' }),
  });
  const { session, transport } = live.begin(ATTACH, { ...PEER, clientCertificate: 'CN=x' }, 'now', ENDLESS);
  transport.write('stdout', Buffer.alloc(5));
  session.lagIs(() => 9);
  live.begin(EXEC, PEER, 'now', ENDLESS);
  live.beginForward(FORWARD, PEER, ENDLESS);
  const [attach, exec, forward] = await list(live);
  assert.equal(attach?.id, session.id);
  assert.deepEqual(
    [attach.kind, attach.containerId, attach.containerName, attach.podId, attach.podName, attach.podNamespace],
    ['attach', 'c'.repeat(64), 'n', 'p', 'pn', 'ns'],
  );
  assert.deepEqual(
    [attach.remote, attach.clientCertificate, attach.protocol, attach.streams, attach.tty, attach.command],
    ['127.0.0.1:4711', 'CN=x', 'wire', ['stdin', 'stdout'], true, ''],
  );
  assert.deepEqual([attach.bytesIn, attach.bytesOut, attach.lagBytes], [0n, 5n, 9n]);
  assert.ok(Math.abs(Number(attach.startedAt / 1_000_000n) - Date.now()) < 20_000);
  assert.deepEqual([exec?.kind, exec?.command, exec?.lagBytes], ['exec', 'sh', undefined]);
  assert.deepEqual(
    [forward?.kind, forward?.containerId, forward?.podId, forward?.ports, forward?.streams, forward?.connections],
    ['portforward', '', 'p'.repeat(64), [80], [], 0n],
  );
});

test('kill ends the session that is meant, and refuses what means none or several', async () => {
  const live = new LiveSessions({ log: silentLog });
  const { session, transport } = live.begin(ATTACH, PEER, 'now', ENDLESS);
  const other = live.begin(EXEC, PEER, 'now', ENDLESS);
  const told = Promise.withResolvers<string>();
  transport.start({
    stdin: () => undefined,
    stdinEof: () => undefined,
    resize: () => undefined,
    drain: () => undefined,
    closed: (reason) => {
      told.resolve(reason);
      session.end({ status: SUCCESS, cause: reason });
    },
  });
  await assert.rejects(call(live, 'Kill', { id: 'x', by: 'me' }), (e) => e instanceof BerthError && e.kind === 'not-found');
  await assert.rejects(call(live, 'Kill', { id: '', by: 'me' }), (e) => e instanceof BerthError && e.code === 'ID_MISSING');
  const answer = (await call(live, 'Kill', { id: session.id, by: 'me' })) as { session: { id: string } };
  assert.equal(answer.session.id, session.id);
  assert.equal(await told.promise, 'killed by me');
  assert.deepEqual(
    (await list(live)).map(({ id }) => id),
    [other.session.id],
  );
});
