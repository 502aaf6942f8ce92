// Sessions over TLS: bytes, ends and halves as without, client certificates, files that change, files that cannot be used.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls, type ConnectionOptions, type SecureVersion, type TLSSocket } from 'node:tls';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import type { TlsFiles } from '../config/config.ts';
import { Certificates } from '../testing/certificates.ts';
import { clientFrame, serverFrames } from '../transport/websocket/test-frames.ts';
import { answerNormalEnd, handlers, Pump, type Serve, startServer, SUCCESS, type TestServer, ticketOf } from './test-server.ts';

const MIB = 1024 * 1024;
const VERSIONS: readonly SecureVersion[] = ['TLSv1.2', 'TLSv1.3'];

const hold: Serve = ({ transport }) => new Promise((resolve) => transport.start(handlers({ closed: () => resolve(SUCCESS) })));

const portOf = (fixture: TestServer): number => Number(new URL(fixture.server.base).port);

/** A TLS connection that has sent an upgrade request for a new ticket. */
async function upgraded(
  fixture: TestServer,
  certs: Certificates,
  more: ConnectionOptions & { allowHalfOpen?: boolean } = {},
): Promise<TLSSocket> {
  const socket = connectTls({ port: portOf(fixture), host: '127.0.0.1', ca: certs.caPem, ...more });
  socket.on('error', () => undefined);
  await once(socket, 'secureConnect');
  const path = new URL(fixture.server.issue(ticketOf())).pathname;
  socket.write(
    `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n',
  );
  return socket;
}

async function collect(socket: TLSSocket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** Adds up the payloads of binary frames from a server until a close frame; gives the code of that. */
function parseFrames(bytes: Buffer): { stdout: Buffer; status: string; closeCode: number } {
  const stdout: Buffer[] = [];
  let status = '';
  for (const { opcode, payload } of serverFrames(bytes.subarray(bytes.indexOf('\r\n\r\n') + 4))) {
    if (opcode === 8) return { stdout: Buffer.concat(stdout), status, closeCode: payload.readUInt16BE(0) };
    if (opcode === 2 && payload[0] === 1) stdout.push(payload.subarray(1));
    if (opcode === 2 && payload[0] === 3) status = payload.subarray(1).toString();
  }
  throw new Error('no close frame came');
}

test('URLs are https and wss clients that know the authority get in; others refuse the server', async () => {
  using certs = new Certificates();
  await using fixture = await startServer(hold, { tls: certs.issue('server') });
  assert.match(fixture.server.issue(ticketOf()), /^https:\/\/127\.0\.0\.1:\d+\/attach\/[\w-]{32}$/);
  const open = async (options: object): Promise<string> => {
    const client = new WebSocket(fixture.server.issue(ticketOf()).replace('https', 'wss'), 'v5.channel.k8s.io', options);
    return await new Promise((resolve) => {
      client.once('open', () => {
        client.terminate();
        resolve('open');
      });
      client.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    });
  };
  assert.equal(await open({ ca: certs.caPem }), 'open');
  assert.match(await open({}), /UNABLE_TO_VERIFY|SELF_SIGNED|UNABLE_TO_GET_ISSUER/);
});

test('TLS 1.1 is refused', async () => {
  using certs = new Certificates();
  await using fixture = await startServer(hold, { tls: certs.issue('server') });
  const old = connectTls({
    port: portOf(fixture),
    host: '127.0.0.1',
    ca: certs.caPem,
    minVersion: 'TLSv1',
    maxVersion: 'TLSv1.1',
    ciphers: 'DEFAULT@SECLEVEL=0',
  });
  const [error] = (await once(old, 'error')) as [NodeJS.ErrnoException];
  assert.match(error.code ?? '', /PROTOCOL_VERSION|NO_PROTOCOLS|ECONNRESET/);
});

for (const version of VERSIONS) {
  const only = { minVersion: version, maxVersion: version };

  test(`${version}: a slow reader gets every byte, the status and the close, also what the session left behind at its end`, async () => {
    using certs = new Certificates();
    const data = randomBytes(8 * MIB);
    const chunks = Array.from({ length: 128 }, (_, i) => data.subarray(i * 65_536, (i + 1) * 65_536));
    await using fixture = await startServer(
      async ({ transport }) => {
        const pump = new Pump();
        transport.start(handlers({ drain: pump.drain }));
        await pump.write(transport, 'stdout', chunks);
        return SUCCESS;
      },
      { tls: certs.issue('server') },
    );
    const client = await upgraded(fixture, certs, only);
    const received: Buffer[] = [];
    const began = performance.now();
    answerNormalEnd(client);
    // About 4 MiB/s: much slower than the server, whose last MiBs lie in buffers when the session ends.
    client.on('data', (chunk: Buffer) => {
      received.push(chunk);
      client.pause();
      setTimeout(() => client.resume(), chunk.length / 4_000);
    });
    await once(client, 'end');
    const { stdout, status, closeCode } = parseFrames(Buffer.concat(received));
    assert.ok(performance.now() - began > 1_500, 'it was a slow reader');
    assert.equal(stdout.length, data.length);
    assert.equal(createHash('sha256').update(stdout).digest('hex'), createHash('sha256').update(data).digest('hex'));
    assert.match(status, /"status":"Success"/);
    assert.equal(closeCode, 1000);
    client.end();
    while (fixture.server.sessions > 0) await sleep(5);
  });

  test(`${version}: input comes exactly, what came with the request and behind a client's half-close included`, async () => {
    using certs = new Certificates();
    const input = randomBytes(4 * MIB);
    const hash = createHash('sha256');
    let bytes = 0;
    const events: string[] = [];
    await using fixture = await startServer(
      ({ transport }) =>
        new Promise((resolve) => {
          let paused = false;
          transport.start(
            handlers({
              stdin: (chunk) => {
                bytes += chunk.length;
                hash.update(chunk);
                if (paused) return;
                paused = true;
                transport.pauseInput();
                setTimeout(() => {
                  paused = false;
                  transport.resumeInput();
                }, 1);
              },
              closed: (reason) => {
                events.push(reason);
                resolve(SUCCESS);
              },
            }),
          );
        }),
      { tls: certs.issue('server') },
    );
    const client = await upgraded(fixture, certs, { ...only, allowHalfOpen: true });
    for (let at = 0; at < input.length; at += 32_768) {
      client.write(clientFrame({ opcode: 2, payload: Buffer.concat([Buffer.of(0), input.subarray(at, at + 32_768)]) }));
    }
    client.end();
    client.resume();
    await once(client, 'end');
    while (events.length === 0) await sleep(5);
    assert.deepEqual(events, ['client went away']);
    assert.equal(bytes, input.length);
    assert.equal(hash.digest('hex'), createHash('sha256').update(input).digest('hex'));
    while (fixture.server.sessions > 0) await sleep(5);
  });
}

test('a client that takes nothing after the end is not reset: its socket lingers, half closed, and the tail is there when it reads', async () => {
  using certs = new Certificates();
  const data = randomBytes(MIB);
  await using fixture = await startServer(
    async ({ transport }) => {
      const pump = new Pump();
      transport.start(handlers({ drain: pump.drain }));
      await pump.write(transport, 'stdout', [data]);
      return SUCCESS;
    },
    { tls: certs.issue('server') },
  );
  const client = await upgraded(fixture, certs);
  await sleep(500);
  // Unread input at the server when it ends would become a reset.
  client.write(clientFrame({ opcode: 2, payload: Buffer.alloc(100_000) }));
  await sleep(500);
  answerNormalEnd(client);
  const { stdout, closeCode } = parseFrames(await collect(client));
  assert.equal(Buffer.compare(stdout, data), 0);
  assert.equal(closeCode, 1000);
});

test('with a client authority only its clients get in', async () => {
  using certs = new Certificates();
  const clients = certs.authority('clients');
  const server: TlsFiles = { ...certs.issue('server'), clientCa: clients.cert };
  await using fixture = await startServer(hold, { tls: server });
  const withPair = (pair: { cert: string; key: string }): ConnectionOptions => ({
    cert: readFileSync(pair.cert),
    key: readFileSync(pair.key),
  });
  const attempt = async (more: ConnectionOptions): Promise<string> => {
    const socket = connectTls({ port: portOf(fixture), host: '127.0.0.1', ca: certs.caPem, ...more });
    const outcome = new Promise<string>((resolve) => {
      socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
      socket.once('close', () => resolve('closed without an answer'));
      socket.once('data', (chunk: Buffer) => resolve(chunk.toString('latin1').split('\r\n')[0] ?? ''));
    });
    socket.once('secureConnect', () => socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'));
    try {
      return await outcome;
    } finally {
      socket.destroy();
    }
  };
  for (const version of VERSIONS) {
    const only = { minVersion: version, maxVersion: version };
    assert.equal(await attempt({ ...only, ...withPair(certs.issue('good', clients)) }), 'HTTP/1.1 404 Not Found', version);
    assert.match(await attempt(only), /CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|ECONNRESET|closed without/, `${version}: none`);
    assert.match(
      await attempt({ ...only, ...withPair(certs.issue('bad')) }),
      /UNKNOWN_CA|HANDSHAKE|ECONNRESET|closed without/,
      `${version}: of another authority`,
    );
  }
});

test('a client that gives up within its handshake leaves no connection behind', async () => {
  using certs = new Certificates();
  await using fixture = await startServer(hold, { tls: certs.issue('server') });
  for (let i = 0; i < 20; i += 1) {
    const client = connectTls({ port: portOf(fixture), host: '127.0.0.1' });
    const [error] = (await once(client, 'error')) as [NodeJS.ErrnoException];
    assert.match(error.code ?? '', /UNABLE_TO_VERIFY/);
  }
  const descriptors = (): number => readdirSync('/proc/self/fd').length;
  const before = descriptors();
  for (let i = 0; i < 100; i += 1) {
    const client = connectTls({ port: portOf(fixture), host: '127.0.0.1' });
    await once(client, 'error');
  }
  for (let i = 0; i < 500 && descriptors() > before + 2; i += 1) await sleep(10);
  assert.ok(descriptors() <= before + 2, `${before} descriptors before, ${descriptors()} after`);
});
