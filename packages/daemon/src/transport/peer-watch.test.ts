// The peer watch with a table of the test's own, and the kernel's table with real connections.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { PeerWatch } from './peer-watch.ts';
import { readTcpTable, type TcpEntry, tcpKey } from './tcp-table.ts';

/** Looks in vain until a connection is given up. */
const FUTILE_LOOKS = 7;
const SILENT: TcpEntry = { unsent: 1, retransmits: 0, probes: 0, peerEnded: false };

type Pair = AsyncDisposable & { readonly server: Server; readonly here: Socket; readonly there: Socket };

async function pair(host = '127.0.0.1', to = host): Promise<Pair> {
  const server = createServer();
  server.listen(0, host);
  await once(server, 'listening');
  const address = server.address();
  const there = connect(typeof address === 'object' ? (address?.port ?? 0) : 0, to);
  const [[here]] = (await Promise.all([once(server, 'connection'), once(there, 'connect')])) as [[Socket], unknown];
  for (const socket of [here, there]) socket.on('error', () => undefined);
  const dispose = async (): Promise<void> => {
    here.destroy();
    there.destroy();
    server.close();
    await once(server, 'close');
  };
  return { server, here, there, [Symbol.asyncDispose]: dispose };
}

/** Looks as often as entries are given; one look per entry, `undefined` for a table without the connection. */
async function look(
  socket: Socket,
  entries: readonly (Partial<TcpEntry> | undefined)[],
  before: (look: number) => void = () => undefined,
): Promise<number> {
  let asked = 0;
  const done = Promise.withResolvers<void>();
  const key = tcpKey(socket) ?? '';
  const watch = new PeerWatch({
    lookMs: 5,
    readTable: async () => {
      const entry = entries[asked];
      asked += 1;
      before(asked);
      if (asked >= entries.length) setImmediate(done.resolve);
      return new Map(entry === undefined ? [] : [[key, { ...SILENT, ...entry }]]);
    },
  });
  watch.add(socket);
  socket.once('close', done.resolve);
  await done.promise;
  await sleep(20);
  return asked;
}

const futile = (count: number, attempts = 5): Partial<TcpEntry>[] =>
  Array.from({ length: count }, () => ({ retransmits: attempts }));

test('a peer that acknowledges nothing for seven looks is gone, with the error of a time-out', async () => {
  await using it = await pair();
  const errors: string[] = [];
  it.here.on('error', (error: NodeJS.ErrnoException) => errors.push(error.code ?? ''));
  const asked = await look(it.here, [...futile(FUTILE_LOOKS), {}, {}]);
  assert.deepEqual(errors, ['ETIMEDOUT']);
  assert.equal(it.here.destroyed, true);
  assert.equal(asked, FUTILE_LOOKS);
});

test('one that has no room and answers no question is gone too', async () => {
  await using it = await pair();
  await look(it.here, [...Array.from({ length: FUTILE_LOOKS }, () => ({ probes: 2 })), {}]);
  assert.equal(it.here.destroyed, true);
});

for (const [name, entries] of [
  ['whose kernel answers', Array.from({ length: 30 }, () => ({}))],
  ['with nothing on its way', Array.from({ length: 30 }, () => ({ unsent: 0, probes: 3 }))],
  ['whose answers come now and then', Array.from({ length: 30 }, (_, i) => (i % 6 === 5 ? {} : { retransmits: 5 }))],
  ['for which there are fewer attempts again', Array.from({ length: 30 }, (_, i) => ({ retransmits: 6 - (i % 6) }))],
  ['that has lost one packet only', futile(30, 3)],
  ['that is not in the table', Array.from({ length: 30 }, () => undefined)],
] as const) {
  test(`a silent peer ${name} is kept`, async () => {
    await using it = await pair();
    assert.ok((await look(it.here, entries)) >= entries.length);
    assert.equal(it.here.destroyed, false);
  });
}

test('a byte from the peer begins everything anew', async () => {
  await using it = await pair();
  it.here.resume();
  await look(it.here, futile(FUTILE_LOOKS + 3), (asked) => {
    if (asked === FUTILE_LOOKS - 1) it.there.write('x');
  });
  assert.equal(it.here.destroyed, false);
});

test('while peers are heard, the table is not read', async (t) => {
  await using it = await pair();
  t.mock.timers.enable({ apis: ['setInterval'] });
  let asked = 0;
  const watch = new PeerWatch({
    lookMs: 200,
    readTable: async () => new Map([['', { ...SILENT, unsent: (asked += 1), retransmits: 9, probes: 9 }]]),
  });
  watch.add(it.here);
  for (let i = 0; i < 100; i += 1) {
    it.there.write('x');
    await once(it.here, 'data');
    t.mock.timers.tick(200);
  }
  await sleep(20);
  assert.equal(asked, 0);
});

test("connections are found in the kernel's table, IPv4, IPv6 and mixed, with what their peer has not taken", async (t) => {
  for (const [host, to] of [
    ['127.0.0.1', '127.0.0.1'],
    ['::1', '::1'],
    ['::', '127.0.0.1'],
  ] as const) {
    const it = await pair(host, to).catch((error: unknown) => error as Error);
    if (it instanceof Error) {
      t.diagnostic(`${host}: ${it.message}`);
      continue;
    }
    await using _ = it;
    it.there.pause();
    it.here.write(Buffer.alloc(16 * 1024 * 1024));
    await sleep(100);
    const entry = (await readTcpTable()).get(tcpKey(it.here) ?? '');
    assert.ok(entry !== undefined && entry.unsent > 0, `${host} ${tcpKey(it.here)}: ${JSON.stringify(entry)}`);
    assert.equal(entry.retransmits, 0);
  }
});
