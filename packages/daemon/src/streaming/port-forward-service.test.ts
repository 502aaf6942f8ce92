// Port-forward sessions over a transport without a wire: halves, back-pressure, limits, and every way in which one can end.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { Duplex, duplexPair } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PortForwardConfig } from '../config/config.ts';
import { noTurnFor } from '../testing/stops.ts';
import { silentLog } from '../util/log.ts';
import { FakeForwardTransport } from './fake-port-forward.ts';
import type { ForwardTarget } from './forward-target.ts';
import type { ConnectionInfo, PortForwardTicket, SessionEnd } from './handler.ts';
import { PortForwardService } from './port-forward-service.ts';

const MIB = 1024 * 1024;
const CONFIG: PortForwardConfig = { maxConnections: 100, maxConnectionsPerSession: 50, dialTimeoutMs: 10_000 };
const INFO: ConnectionInfo = { remoteAddress: '127.0.0.1', from: 'now' };

type Options = {
  readonly config?: Partial<PortForwardConfig>;
  readonly ports?: readonly number[];
  readonly log?: typeof silentLog;
};

/** A service with one pod that is reached by `dial`. */
class Bed {
  readonly gone = new AbortController();
  readonly service: PortForwardService;
  readonly #ports: readonly number[];

  constructor(dial: ForwardTarget['dial'], options: Options = {}) {
    const target: ForwardTarget = { gone: this.gone.signal, dial };
    this.#ports = options.ports ?? [];
    this.service = new PortForwardService(
      (id) => (id === 'pod-0123456789abcdef' ? target : undefined),
      { ...CONFIG, ...options.config },
      options.log ?? silentLog,
    );
  }

  session(podId = 'pod-0123456789abcdef'): { readonly transport: FakeForwardTransport; readonly over: Promise<SessionEnd> } {
    const transport = new FakeForwardTransport();
    const ticket: PortForwardTicket = { method: 'portforward', podId, ports: this.#ports };
    return { transport, over: this.service.portForward(ticket, transport, INFO) };
  }
}

/** A real TCP server in the place of the pod's. */
async function tcpPod(serve: (socket: Socket) => void): Promise<{ server: Server; dial: ForwardTarget['dial'] }> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    serve(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const dial = async (): Promise<Socket> => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    await once(socket, 'connect');
    return socket;
  };
  return { server, dial };
}

/** A pod's side in memory; gives the program's end of every connection. */
function memoryPod(highWaterMark = 64 * 1024): { programs: Duplex[]; dial: ForwardTarget['dial'] } {
  const programs: Duplex[] = [];
  const dial = async (): Promise<Duplex> => {
    const [ours, program] = duplexPair({ highWaterMark });
    program.on('error', () => {});
    programs.push(program);
    return ours;
  };
  return { programs, dial };
}

async function readAll(stream: Duplex): Promise<Buffer> {
  const got: Buffer[] = [];
  for await (const chunk of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) got.push(chunk);
  return Buffer.concat(got);
}

async function eventually(what: string, probe: () => boolean): Promise<void> {
  for (let i = 0; !probe(); i++) {
    assert.ok(i < 2_000, `never: ${what}`);
    await sleep(5);
  }
}

/** Writes for as long as there is room; gives how much that was once nothing has gone for a while. */
async function fill(stream: Duplex): Promise<number> {
  let accepted = 0;
  const chunk = Buffer.alloc(16 * 1024, 1);
  for (let quiet = 0; quiet < 20; quiet++) {
    while (stream.writableLength < stream.writableHighWaterMark) {
      stream.write(chunk);
      accepted += chunk.length;
      quiet = 0;
    }
    await sleep(5);
  }
  return accepted;
}

test('the client ends its half first: the program answers after the end of its input, exact both ways', async () => {
  const question = randomBytes(5 * MIB);
  const answer = randomBytes(7 * MIB);
  const seen = Promise.withResolvers<Buffer>();
  const { server, dial } = await tcpPod((socket) => {
    void readAll(socket).then((all) => {
      seen.resolve(all);
      socket.end(answer);
    });
  });
  const bed = new Bed(dial);
  const { transport, over } = bed.session();
  const client = await transport.open(80);
  client.stream.end(question);
  const got = await readAll(client.stream);
  assert.ok(question.equals(await seen.promise));
  assert.ok(answer.equals(got));
  await eventually('the connection is closed', () => client.data.destroyed);
  assert.equal(client.failure(), undefined);
  await eventually('nothing is counted', () => bed.service.connections === 0);
  await transport.leave();
  await over;
  server.close();
});

test('the program ends its half first and goes on reading', async () => {
  const seen = Promise.withResolvers<Buffer>();
  const { server, dial } = await tcpPod((socket) => {
    socket.end('banner');
    void readAll(socket).then(seen.resolve);
  });
  const bed = new Bed(dial);
  const { transport, over } = bed.session();
  const { stream, data } = await transport.open(80);
  assert.equal((await readAll(stream)).toString(), 'banner');
  const late = randomBytes(3 * MIB);
  stream.write(late.subarray(0, MIB));
  await sleep(50);
  assert.equal(bed.service.connections, 1);
  stream.end(late.subarray(MIB));
  assert.ok(late.equals(await seen.promise));
  await eventually('the connection is closed', () => data.destroyed);
  await transport.leave();
  await over;
  server.close();
});

test('back-pressure: whoever is not read can send no more than the four buffers in between hold, and nothing of it is lost', async () => {
  const room = 64 * 1024;
  const bound = 6 * room;
  const { programs, dial } = memoryPod(room);
  const bed = new Bed(dial);
  const { transport, over } = bed.session();
  const { stream, data } = await transport.open(80, room);
  await eventually('it is dialed', () => programs.length === 1);
  const [program] = programs;
  assert.ok(program);
  const toPod = await fill(stream);
  const toClient = await fill(program);
  for (const accepted of [toPod, toClient]) assert.ok(accepted > room && accepted <= bound, `${accepted} bytes were taken`);
  stream.end();
  program.end();
  const [input, output] = await Promise.all([readAll(program), readAll(stream)]);
  assert.deepEqual([input.length, output.length], [toPod, toClient]);
  await eventually('the connection is closed', () => data.destroyed);
  await transport.leave();
  await over;
});

test('one connection that is stuck holds up no other', async () => {
  const { programs, dial } = memoryPod();
  const { transport, over } = new Bed(dial).session();
  const stuck = await transport.open(80);
  await fill(stuck.stream);
  const other = await transport.open(80);
  await eventually('it is dialed', () => programs.length === 2);
  programs[1]?.pipe(programs[1]);
  other.stream.end(Buffer.alloc(4 * MIB, 'x'));
  assert.equal((await readAll(other.stream)).length, 4 * MIB);
  await transport.leave();
  await over;
});

test('a port that cannot be reached is one sentence on its error stream; other connections go on', async () => {
  const { programs, dial } = memoryPod();
  const bed = new Bed(async (port, signal) => {
    if (port === 81) throw new Error('port 81 cannot be reached: connection refused on 127.0.0.1 and ::1');
    return await dial(port, signal);
  });
  const { transport, over } = bed.session();
  const good = await transport.open(80);
  const bad = await transport.open(81);
  await eventually('it is refused', () => bad.failure() !== undefined);
  assert.equal(
    bad.failure(),
    'cannot forward to port 81 of pod pod-012345678: port 81 cannot be reached: connection refused on 127.0.0.1 and ::1',
  );
  programs[0]?.pipe(programs[0]);
  good.stream.end('fine');
  assert.equal((await readAll(good.stream)).toString(), 'fine');
  await transport.leave();
  await over;
});

test('limits: of a session, of all sessions, of the ports that the call named; room again once one has ended', async () => {
  const { programs, dial } = memoryPod();
  const bed = new Bed(dial, { config: { maxConnections: 3, maxConnectionsPerSession: 2 }, ports: [80, 81] });
  const one = bed.session();
  const two = bed.session();
  const first = await one.transport.open(80);
  await one.transport.open(81);
  const third = await one.transport.open(80);
  assert.match(third.failure() ?? '', /this session has 2 connections already/);
  await two.transport.open(80);
  const fifth = await two.transport.open(80);
  assert.match(fifth.failure() ?? '', /too many forwarded connections/);
  const unnamed = await two.transport.open(22);
  assert.match(unnamed.failure() ?? '', /port 22 .*did not name this port/);
  await eventually('all are dialed', () => programs.length === 3);
  programs[0]?.end();
  first.stream.end();
  first.stream.resume();
  programs[0]?.resume();
  await eventually('the first is over', () => bed.service.connections === 2);
  const again = await two.transport.open(80);
  await eventually('it is dialed', () => programs.length === 4);
  assert.equal(again.failure(), undefined);
  await one.transport.leave();
  await two.transport.leave();
  await Promise.all([one.over, two.over]);
  assert.equal(bed.service.connections, 0);
});

test('a dial that takes too long is given up and said; one whose client leaves is given up', async () => {
  const reasons: string[] = [];
  const hang: ForwardTarget['dial'] = (_port, signal) =>
    new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => {
        reasons.push(String(signal.reason));
        reject(signal.reason as Error);
      });
    });
  const slow = new Bed(hang, { config: { dialTimeoutMs: 60 } }).session();
  const late = await slow.transport.open(80);
  await eventually('it is given up', () => late.failure() !== undefined);
  assert.match(late.failure() ?? '', /no answer within 0\.06 s$/);
  await slow.transport.leave();
  await slow.over;

  const bed = new Bed(hang);
  const { transport, over } = bed.session();
  const { data, failure } = await transport.open(80);
  data.destroy();
  await eventually('it is given up', () => bed.service.connections === 0);
  assert.equal(failure(), undefined);
  await transport.open(80);
  await transport.leave();
  await over;
  assert.deepEqual(reasons.slice(1), ['Error: the client has gone', 'Error: the client has gone']);
});

test('a connection that is made while its client leaves is closed', async () => {
  const { programs, dial } = memoryPod();
  const made = Promise.withResolvers<void>();
  const { transport, over } = new Bed(async (port, signal) => {
    await made.promise;
    return await dial(port, signal);
  }).session();
  await transport.open(80);
  await transport.leave();
  made.resolve();
  await over;
  await eventually('the program sees the end', () => programs[0]?.readableEnded === true || (programs[0]?.resume(), false));
});

/** A pod whose program takes what comes, and notes how each of its connections ends. */
async function notingPod(): Promise<{ server: Server; dial: ForwardTarget['dial']; ends: string[]; received: number[] }> {
  const ends: string[] = [];
  const received: number[] = [];
  const pod = await tcpPod((socket) => {
    const index = received.push(0) - 1;
    socket.on('data', (chunk: Buffer) => {
      received[index] = (received[index] ?? 0) + chunk.length;
    });
    socket.on('end', () => ends.push(`end after ${received[index]}`));
    socket.on('error', (error: NodeJS.ErrnoException) => ends.push(error.code ?? ''));
    socket.on('close', () => socket.destroy());
  });
  return { ...pod, ends, received };
}

test('a connection that is made while its client leaves is reset: the program takes nothing for all of it', async (t) => {
  const { server, dial, ends } = await notingPod();
  t.after(() => server.close());
  const made = Promise.withResolvers<void>();
  const { transport, over } = new Bed(async (port, signal) => {
    const socket = await dial(port, signal);
    await made.promise;
    return socket;
  }).session();
  await transport.open(80);
  await transport.leave();
  made.resolve();
  await over;
  await eventually('the program has heard of it', () => ends.length > 0);
  assert.deepEqual(ends, ['ECONNRESET']);
});

for (const inOrder of [false, true]) {
  test(`the pod is stopped while ${inOrder ? 'a program has all its input' : 'input is still to come'}: ${inOrder ? 'an end' : 'a reset'}`, async (t) => {
    const { server, dial, ends, received } = await notingPod();
    t.after(() => server.close());
    const bed = new Bed(dial);
    const { transport, over } = bed.session();
    const { stream } = await transport.open(80);
    stream.write('half of it');
    await eventually('it has come', () => received[0] === 10);
    if (inOrder) stream.end();
    bed.gone.abort();
    await over;
    await eventually('the program has heard of it', () => ends.length > 0);
    // A reset behind the end would come at once.
    await sleep(100);
    assert.deepEqual(ends, [inOrder ? 'end after 10' : 'ECONNRESET']);
  });
}

test('the pod is stopped while its program has not taken all of the input that has ended: a reset', async () => {
  let reset = false;
  class Stuck extends Duplex {
    override _read(): void {}
    override _write(): void {}
    resetAndDestroy(): void {
      reset = true;
      this.destroy();
    }
  }
  const bed = new Bed(async () => new Stuck());
  const { transport, over } = bed.session();
  const { stream, data } = await transport.open(80);
  stream.end('all of it');
  await eventually('it has been handed on', () => data.readableEnded);
  bed.gone.abort();
  await over;
  assert.equal(reset, true);
});

test('a client that is gone in the middle resets the program; one that had ended its input does not', async () => {
  const { server, dial, ends, received } = await notingPod();
  const bed = new Bed(dial);
  const cut = bed.session();
  const first = await cut.transport.open(80);
  first.stream.write('half of it');
  await eventually('it has come', () => received[0] === 10);
  await cut.transport.leave();
  await cut.over;
  await eventually('the program is told', () => ends.length === 1);
  assert.deepEqual(ends, ['ECONNRESET']);

  const whole = bed.session();
  const second = await whole.transport.open(80);
  second.stream.end(Buffer.alloc(2 * MIB));
  await eventually('the session has read it all', () => second.data.readableEnded);
  await whole.transport.leave();
  await eventually('the program has it all', () => ends.length === 2);
  assert.deepEqual(ends, ['ECONNRESET', `end after ${2 * MIB}`]);
  // The program keeps its half open; the daemon's end is the end of that as well.
  bed.service.close();
  await whole.over;
  assert.equal(bed.service.connections, 0);
  server.close();
});

test('a program that resets takes down its connection only, without a word on the error stream', async () => {
  const { server, dial } = await tcpPod((socket) => {
    socket.once('data', () => socket.resetAndDestroy());
  });
  const { transport, over } = new Bed(dial).session();
  const client = await transport.open(80);
  client.stream.resume();
  client.stream.write('x');
  await eventually('it is destroyed', () => client.data.destroyed);
  assert.equal(client.failure(), undefined);
  assert.equal(client.data.writableFinished, false);
  await transport.leave();
  await over;
  server.close();
});

test('a program that answers and leaves while the client is still sending: the answer arrives whole', async () => {
  const answer = randomBytes(MIB);
  const { server, dial } = await tcpPod((socket) => {
    // Closed as a whole once the answer is out: what comes then is answered with a reset.
    socket.once('data', () => socket.end(answer, () => socket.destroy()));
  });
  const { transport, over } = new Bed(dial).session();
  const { stream } = await transport.open(80);
  stream.write('the first part of a long upload');
  // A reset that comes before the answer and its end have been read takes away what is left of them.
  assert.ok(answer.equals(await readAll(stream)));
  stream.write(Buffer.alloc(MIB));
  await sleep(20);
  stream.end(Buffer.alloc(8 * MIB));
  await once(stream, 'finish');
  await transport.leave();
  await over;
  server.close();
});

test('the pod is stopped: what its programs wrote last arrives, then the session ends; what does not end is told why', async () => {
  const { programs, dial } = memoryPod();
  const bed = new Bed(dial);
  const { transport, over } = bed.session();
  const ending = await transport.open(80);
  const staying = await transport.open(81);
  await eventually('both are dialed', () => programs.length === 2);
  programs[0]?.end('last words');
  bed.gone.abort();
  const refused = await transport.open(82);
  assert.match(refused.failure() ?? '', /port 82 .*not there any more/);
  assert.equal((await readAll(ending.stream)).toString(), 'last words');
  await over;
  assert.equal(transport.finished, true);
  assert.match(staying.failure() ?? '', /^cannot forward to port 81 of pod \S+: the pod has been stopped$/);
  assert.equal(bed.service.connections, 0);

  const idle = new Bed(dial);
  const session = idle.session();
  await session.transport.started;
  idle.gone.abort();
  await session.over;
  assert.equal(session.transport.finished, true);
});

test('what the programs of a stopped pod wrote last is read also by a process that was stopped for longer than it waits', async (t) => {
  const accepted = Promise.withResolvers<Socket>();
  const { server, dial } = await tcpPod(accepted.resolve);
  t.after(() => server.close());
  const bed = new Bed(dial);
  const { transport, over } = bed.session();
  const { stream } = await transport.open(80);
  const program = await accepted.promise;
  const got = readAll(stream);
  bed.gone.abort();
  program.end('last words');
  noTurnFor(2_500);
  await over;
  assert.equal((await got).toString(), 'last words');
});

test('a pod that has gone between the call and the connection: its client is told', async () => {
  const { transport, over } = new Bed(memoryPod().dial).session('another');
  const { failure } = await transport.open(80);
  assert.match(failure() ?? '', /not there any more/);
  await over;
  assert.equal(transport.finished, true);
});

test('the daemon stops: every client is told, programs see their connections end, nothing is left', async () => {
  const { programs, dial } = memoryPod();
  const bed = new Bed(dial);
  const sessions = [bed.session(), bed.session()];
  const clients = await Promise.all(sessions.flatMap(({ transport }) => [transport.open(80), transport.open(81)]));
  await eventually('all are dialed', () => programs.length === 4);
  for (const program of programs) program.resume();
  bed.service.close();
  await Promise.all(sessions.map(({ over }) => over));
  for (const client of clients) assert.match(client.failure() ?? '', /: the daemon stops$/);
  for (const { transport } of sessions) assert.equal(transport.finished, true);
  await eventually('programs have seen the end', () => programs.every((program) => program.readableEnded));
  assert.equal(bed.service.connections, 0);
  const late = bed.session();
  await late.over;
  assert.equal(late.transport.finished, true);
});

test('why the session ended, for the audit line: the client, the pod, the daemon', async () => {
  const left = new Bed(memoryPod().dial).session();
  await left.transport.leave('client closed with 1000');
  assert.deepEqual(await left.over, { status: { status: 'Success' }, cause: 'client closed with 1000' });
  const bed = new Bed(memoryPod().dial);
  const stopped = bed.session();
  bed.gone.abort();
  const { status } = await stopped.over;
  assert.equal(status.status === 'Failure' && status.reason, 'PodStopped');
  const other = new Bed(memoryPod().dial);
  const ended = other.session();
  other.service.close();
  const end = await ended.over;
  assert.equal(end.status.status === 'Failure' && end.status.reason, 'SessionEnded');
});
