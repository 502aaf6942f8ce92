// Live sessions over a real server and real clients: the list, killing, audit lines, totals.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { CHANNEL, decodeStatus, SUBPROTOCOLS, type WireStatus } from '@berth/attach-protocol';
import { WebSocket } from 'ws';
import { exposition } from '../observability/exposition.ts';
import { type ParsedFamily, parseExposition, valueOf } from '../testing/parse-exposition.ts';
import { awakeMs } from '../testing/stops.ts';
import type { SessionStatus } from '../transport/transport.ts';
import { BerthError } from '../util/errors.ts';
import type { Log } from '../util/log.ts';
import { endReason } from './end-reason.ts';
import type { Ticket } from './handler.ts';
import { LiveSessions } from './live-sessions.ts';
import { KILL_GRACE_MS, SessionMeter } from './session-meter.ts';
import { exitStatus, failure } from './session-status.ts';
import { handlers, type Serve, type Session, startServer, SUCCESS } from './test-server.ts';

type Line = Readonly<Record<string, unknown>>;

/** Sessions whose audit lines are kept. */
function recorded(names: LiveSessionsOptionsNames = {}): { readonly live: LiveSessions; readonly lines: Line[] } {
  const lines: Line[] = [];
  const log: Log = {
    debug: () => undefined,
    info: (fields, msg) => void lines.push(JSON.parse(JSON.stringify({ ...fields, msg })) as Line),
    warn: () => undefined,
    error: () => undefined,
    child: () => log,
  };
  return { live: new LiveSessions({ log, names: () => names }), lines };
}

type LiveSessionsOptionsNames = ReturnType<NonNullable<ConstructorParameters<typeof LiveSessions>[0]['names']>>;

/** Ends with this status when the client says so by its input, or goes. */
const serve =
  (status: SessionStatus = SUCCESS): Serve =>
  ({ transport }) => {
    const { promise, resolve } = Promise.withResolvers<SessionStatus>();
    transport.start(
      handlers({
        stdin: (chunk) => {
          transport.write('stdout', chunk);
          transport.write('stderr', Buffer.from('!'));
          if (Buffer.from(chunk).includes('end')) resolve(status);
        },
        closed: () => resolve(SUCCESS),
      }),
    );
    return promise.then(async (end) => {
      await transport.finish(end);
      return end;
    });
  };

class Client {
  readonly socket: WebSocket;
  status: WireStatus | undefined;
  code: number | undefined;
  bytes = 0;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (data: Buffer) => {
      if (data[0] === CHANNEL.status)
        this.status = decodeStatus(SUBPROTOCOLS['v5.channel.k8s.io'], data.subarray(1)) ?? this.status;
      else this.bytes += data.length - 1;
    });
    socket.on('close', (code) => {
      this.code = code;
    });
    socket.on('error', () => undefined);
  }

  static async open(url: string): Promise<Client> {
    const client = new Client(new WebSocket(url, 'v5.channel.k8s.io'));
    await new Promise((resolve, reject) => client.socket.once('open', resolve).once('error', reject));
    return client;
  }

  send(text: string): void {
    this.socket.send(Buffer.concat([Buffer.from([CHANNEL.stdin]), Buffer.from(text)]));
  }
}

async function until(what: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!what()) {
    if (performance.now() > deadline) throw new Error(`never: ${what.toString()}`);
    await sleep(2);
  }
}

const scrape = (live: LiveSessions, tickets = 0): Map<string, ParsedFamily> => parseExposition(exposition(live.metrics(tickets)));
const refused = (code: string) => (error: unknown) => error instanceof BerthError && error.code === code;

test('a session is listed while it runs, with what it has moved, and leaves two audit lines with exact counts', async () => {
  const names = { containerName: 'web', podId: 'p1', podName: 'pod', podNamespace: 'ns' };
  const { live, lines } = recorded(names);
  await using fixture = await startServer(serve(), {}, undefined, undefined, live);
  const url = fixture.url({ containerId: 'c7' });
  const client = await Client.open(`${url}?from=start`);
  await until(() => live.list().length === 1);
  client.send('x'.repeat(1_000));
  await until(() => client.bytes === 1_001);
  const [view] = live.list();
  assert.match(view?.id ?? '', /^[0-9a-f]{12}$/);
  assert.deepEqual(
    [view?.ticket.method, view?.names, view?.protocol, view?.meter.input, view?.meter.output, view?.lag],
    ['attach', names, 'v5.channel.k8s.io', 1_000, 1_001, undefined],
  );
  assert.ok(Math.abs((view?.startedAt ?? 0) - Date.now()) < 20_000);
  client.send('end');
  await until(() => live.list().length === 0);
  const [begin, end] = lines;
  assert.equal(lines.length, 2);
  const subject = {
    event: 'session',
    session: view?.id,
    kind: 'attach',
    container: 'c7',
    containerName: 'web',
    pod: 'p1',
    podName: 'pod',
    podNamespace: 'ns',
    remote: `127.0.0.1:${view?.peer.remotePort}`,
    protocol: 'v5.channel.k8s.io',
    streams: ['stdin', 'stdout', 'stderr'],
    tty: false,
    from: 'start',
  };
  assert.deepEqual(begin, { ...subject, phase: 'begin', msg: 'session begins' });
  const { ms, ...rest } = end ?? {};
  assert.deepEqual(rest, {
    ...subject,
    phase: 'end',
    reason: 'Exited',
    cause: 'as the test says',
    status: 'Success',
    bytesIn: 1_003,
    bytesOut: 1_005,
    stdout: 1_003,
    stderr: 2,
    msg: 'session ended',
  });
  assert.equal(client.bytes, 1_005);
  assert.ok(typeof ms === 'number' && ms >= 0);
  const token = url.split('/').at(-1) ?? '';
  assert.ok(token.length >= 32 && !JSON.stringify(lines).includes(token));
});

test('killed sessions end at once, whatever they do: one that reads is told, one that is stalled is cut off', async () => {
  const { live, lines } = recorded();
  const flood: Serve = ({ transport }) =>
    new Promise((resolve) => {
      const pump = (): void => {
        while (transport.write('stdout', Buffer.alloc(65_536)));
      };
      transport.start(handlers({ drain: pump, closed: () => resolve(SUCCESS) }));
      pump();
    });
  await using fixture = await startServer(
    (session: Session) => (session.ticket.containerId === 'flood' ? flood(session) : serve()(session)),
    {},
    undefined,
    undefined,
    live,
  );
  const stalled = await Client.open(fixture.url({ containerId: 'flood' }));
  stalled.socket.pause();
  const idle = await Client.open(fixture.url({ containerId: 'idle' }));
  await until(() => live.list().length === 2);
  const [first, second] = live.list();
  await sleep(100);
  const took = await awakeMs(async () => await live.kill(second?.id.slice(0, 11) ?? '', 'alice\u0007\n'));
  assert.ok(took < KILL_GRACE_MS / 2, 'a client that reads needs no grace');
  await until(() => idle.code !== undefined);
  assert.deepEqual([idle.status?.status, idle.status?.reason, idle.code], ['Failure', 'SessionKilled', 1000]);
  assert.equal(idle.status?.message, 'the session was ended by alice??');
  const again = performance.now();
  await live.kill(first?.id ?? '', '');
  const grace = performance.now() - again;
  assert.ok(grace >= KILL_GRACE_MS - 50 && grace < KILL_GRACE_MS + 10_000, `the stalled one took ${grace} ms`);
  assert.equal(live.list().length, 0);
  assert.equal(fixture.server.sessions, 0);
  stalled.socket.resume();
  await until(() => stalled.code !== undefined);
  assert.equal(stalled.code, 1006, 'without a close');
  const ends = lines.filter(({ phase }) => phase === 'end');
  assert.deepEqual(
    ends.map(({ reason, cause, status }) => [reason, cause, status]),
    [
      ['SessionKilled', 'killed by alice??', 'Failure'],
      ['SessionKilled', 'killed by an operator', 'Failure'],
    ],
  );
  for (const [id, code] of [
    [first?.id ?? '', 'SESSION_NOT_FOUND'],
    ['zz', 'SESSION_NOT_FOUND'],
    ['', 'ID_MISSING'],
  ] as const)
    await assert.rejects(live.kill(id, 'me'), refused(code));
});

test('totals: by kind, protocol and reason; bytes of live and ended sessions; tickets; what was refused', async () => {
  const { live } = recorded();
  const behind: Serve = (session) => {
    session.info.lagIs?.(() => 77);
    return serve()(session);
  };
  await using fixture = await startServer(behind, {}, undefined, undefined, live);
  const { server } = fixture;
  server.issue({ method: 'exec', containerId: 'c', stdin: true, stdout: true, stderr: true, tty: false, command: ['a', 'secret'] });
  const done = await Client.open(fixture.url());
  done.send('end');
  await until(() => done.code !== undefined);
  const runs = await Client.open(fixture.url());
  runs.send('12345');
  await until(() => runs.bytes === 6 && live.list().length === 1);
  await assert.rejects(Client.open(`${server.base.replace('http', 'ws')}/attach/${'A'.repeat(32)}`));
  assert.equal((await fetch(`${server.base}/x`)).status, 404);
  const seen = scrape(live, server.tickets);
  const attach = { kind: 'attach' };
  const protocol = 'v5.channel.k8s.io';
  assert.equal(valueOf(seen, 'berth_sessions', { ...attach, protocol }), 1);
  assert.equal(valueOf(seen, 'berth_sessions_total', { ...attach, protocol }), 2);
  assert.equal(valueOf(seen, 'berth_sessions_ended_total', { ...attach, reason: 'Exited' }), 1);
  assert.equal(valueOf(seen, 'berth_sessions_ended_total', { kind: 'exec', reason: 'ClientGone' }), 0);
  assert.equal(valueOf(seen, 'berth_session_bytes_total', { ...attach, direction: 'in', stream: 'stdin' }), 8);
  assert.equal(valueOf(seen, 'berth_session_bytes_total', { ...attach, direction: 'out', stream: 'stderr' }), 2);
  assert.equal(valueOf(seen, 'berth_tickets'), 1);
  assert.deepEqual(
    ['issued', 'used', 'expired'].map((what) => valueOf(seen, `berth_tickets_${what}_total`, attach)),
    [2, 2, 0],
  );
  assert.equal(valueOf(seen, 'berth_tickets_issued_total', { kind: 'exec' }), 1);
  assert.equal(valueOf(seen, 'berth_stream_requests_refused_total', { code: '404' }), 2);
  assert.equal(valueOf(seen, 'berth_session_connect_seconds_count', attach), 2);
  assert.ok(valueOf(seen, 'berth_session_connect_seconds_sum', attach) < 20);
  assert.equal(valueOf(seen, 'berth_session_first_output_seconds_count', attach), 1);
  assert.equal(valueOf(seen, 'berth_session_duration_seconds_count', attach), 1);
  assert.equal(valueOf(seen, 'berth_session_lag_bytes_max'), 77);
  runs.socket.terminate();
  await until(() => live.list().length === 0);
  const after = scrape(live);
  assert.equal(valueOf(after, 'berth_sessions_ended_total', { ...attach, reason: 'ClientGone' }), 1);
  assert.equal(
    valueOf(after, 'berth_session_bytes_total', { ...attach, direction: 'in', stream: 'stdin' }),
    8,
    'none lost at the end',
  );
  assert.deepEqual(
    [valueOf(after, 'berth_sessions', { ...attach, protocol }), valueOf(after, 'berth_session_lag_bytes_max')],
    [0, 0],
  );
  await server.close(0);
  assert.equal(valueOf(scrape(live), 'berth_tickets_expired_total', { kind: 'exec' }), 1);
});

test('metrics have the same lines after a thousand clients of different containers as after one', async () => {
  const { live } = recorded();
  await using fixture = await startServer(serve(), {}, undefined, undefined, live);
  const one = async (containerId: string): Promise<void> => {
    const client = await Client.open(fixture.url({ containerId }));
    client.send('end');
    await until(() => client.code !== undefined);
  };
  const names = (): string[] =>
    [...scrape(live).values()].flatMap(({ samples }) => samples.map(({ name, labels }) => `${name}${JSON.stringify(labels)}`));
  await one('first');
  await until(() => live.list().length === 0);
  const before = names();
  for (let round = 0; round < 20; round += 1) await Promise.all(Array.from({ length: 50 }, (_, at) => one(`c-${round}-${at}`)));
  await until(() => live.list().length === 0);
  assert.deepEqual(names(), before);
  assert.equal(valueOf(scrape(live), 'berth_session_duration_seconds_count', { kind: 'attach' }), 1_001);
});

test('of an exec the audit line has the program and not its arguments, of a port-forward the ports', () => {
  const { live, lines } = recorded();
  const transport = { protocol: 'p', start: () => undefined, finish: async () => undefined, destroy: () => undefined };
  const streams = { containerId: 'c', stdin: false, stdout: true, stderr: false, tty: true };
  const exec: Ticket = { method: 'exec', ...streams, command: ['mysql', '--password=hunter2'] };
  const peer = { remoteAddress: '::1', remotePort: 9, clientCertificate: 'CN=kubelet' };
  const ignore = (): void => undefined;
  const unsent = async (): Promise<number> => await Promise.resolve(0);
  const stdio = { ...transport, write: () => true, flushed: true, unsent, pauseInput: ignore, resumeInput: ignore };
  live
    .begin(exec, peer, 'now', stdio)
    .session.end({ status: { ...failure('NonZeroExitCode', ''), exitCode: 3 } as SessionStatus, cause: 'x' });
  const forward = live.beginForward({ method: 'portforward', podId: 'p', ports: [80] }, peer, transport);
  forward.session.end({ status: failure('PodStopped', ''), cause: 'the pod has been stopped' });
  assert.doesNotMatch(JSON.stringify(lines), /hunter2/);
  const [, execEnd, , forwardEnd] = lines;
  assert.deepEqual(
    ['command', 'arguments', 'streams', 'tty', 'exitCode', 'reason', 'remote', 'clientCertificate'].map((key) => execEnd?.[key]),
    ['mysql', 1, ['stdout'], true, 3, 'Exited', '[::1]:9', 'CN=kubelet'],
  );
  assert.deepEqual(
    ['pod', 'ports', 'connections', 'reason', 'container', 'stdout'].map((key) => forwardEnd?.[key]),
    ['p', [80], 0, 'PodStopped', undefined, undefined],
  );
});

test('every way to end has its reason', () => {
  const exited = { code: 1 } as Parameters<typeof exitStatus>[0];
  const cases: readonly [Partial<SessionMeter>, SessionStatus, string, string][] = [
    [{}, SUCCESS, 'container exited', 'Exited'],
    [{}, exitStatus(exited, true), 'exited with 1', 'Exited'],
    [{}, SUCCESS, 'stdin ended', 'InputEnded'],
    [{}, failure('LagLimit', ''), 'LagLimit', 'LagLimit'],
    [{}, failure('SessionEnded', ''), 'ended by the daemon', 'SessionEnded'],
    [{}, failure('FromTheFuture', ''), 'x', 'Other'],
    [{}, SUCCESS, 'idle time-out', 'IdleTimeout'],
    // The wrapper that ends idle sessions tells the client; to the session the client has gone.
    [{ told: failure('IdleTimeout', '') }, SUCCESS, 'idle time-out', 'IdleTimeout'],
    [{ lost: 'client went away' }, SUCCESS, 'client went away', 'ClientGone'],
    [{ lost: 'client broke the protocol: x' }, SUCCESS, 'x', 'ProtocolError'],
    [{ lost: 'ended by the server', destroyed: true }, SUCCESS, 'x', 'SessionEnded'],
    [{ killedBy: 'me', told: failure('SessionKilled', '') }, SUCCESS, 'killed by me', 'SessionKilled'],
  ];
  for (const [seen, status, cause, reason] of cases)
    assert.equal(endReason(Object.assign(new SessionMeter(), seen), { status, cause }), reason, `${cause} ${reason}`);
});
