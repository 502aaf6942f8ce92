// TLS files: replaced ones are used, broken ones are not, unsafe ones refused.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, chownSync, copyFileSync, mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { test } from 'node:test';
import type { TlsFiles } from '../config/config.ts';
import { Certificates, type KeyPair } from '../testing/certificates.ts';
import type { BerthError } from '../util/errors.ts';
import type { Log } from '../util/log.ts';
import { makeHttpServer } from './http-server.ts';
import { CONFIG, startServer, SUCCESS } from './test-server.ts';
import { fingerprint, TlsReload } from './tls-reload.ts';
import { readTlsFiles } from './tls-files.ts';

/** Keeps what is logged. */
function listen(): Log & { readonly lines: string[] } {
  const lines: string[] = [];
  const say = (fields: object, message: string): void => void lines.push(`${message} ${JSON.stringify(fields)}`);
  const log = { lines, debug: say, info: say, warn: say, error: say, child: () => log };
  return log;
}

test('files that are replaced are used for new connections, sessions go on; broken ones leave the old, said once', async () => {
  using certs = new Certificates();
  // As Kubernetes mounts secrets: names are links through a link that is swapped.
  const volume = join(certs.dir, 'volume');
  mkdirSync(volume);
  let version = 0;
  const publish = (pair: { cert: string; key: string }, brokenKey = false): void => {
    const folder = join(volume, `..v${++version}`);
    mkdirSync(folder);
    copyFileSync(pair.cert, join(folder, 'tls.crt'));
    copyFileSync(pair.key, join(folder, 'tls.key'));
    if (brokenKey) writeFileSync(join(folder, 'tls.key'), 'nonsense');
    chmodSync(join(folder, 'tls.key'), 0o600);
    symlinkSync(`..v${version}`, join(volume, '..data_tmp'));
    renameSync(join(volume, '..data_tmp'), join(volume, '..data'));
  };
  publish(certs.issue('one'));
  for (const name of ['tls.crt', 'tls.key']) symlinkSync(join('..data', name), join(volume, name));
  const files: TlsFiles = { cert: join(volume, 'tls.crt'), key: join(volume, 'tls.key') };

  const seen = await fingerprint(files);
  const server = makeHttpServer(CONFIG, await readTlsFiles(files));
  assert.ok(server instanceof Server);
  server.on('upgrade', (_request, socket: Socket) => {
    socket.pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const log = listen();
  const reload = new TlsReload(server, files, seen, log, 20);
  const { port } = server.address() as AddressInfo;
  const dial = async (): Promise<TLSSocket> => {
    const socket = connectTls({ port, host: '127.0.0.1', ca: certs.caPem });
    await once(socket, 'secureConnect');
    return socket;
  };
  const shown = async (): Promise<unknown> => {
    const socket = await dial();
    const { subject } = socket.getPeerCertificate();
    socket.destroy();
    return subject.CN;
  };
  const session = await dial();
  session.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
  const echo = async (text: string): Promise<void> => {
    session.write(text);
    let got = '';
    while (!got.endsWith(text)) got += String(((await once(session, 'data')) as [Buffer])[0]);
  };
  try {
    await echo('before');
    assert.equal(await shown(), 'one');
    publish(certs.issue('two'));
    while ((await shown()) !== 'two') await sleep(10);
    await echo('after');

    publish(certs.issue('three'), true);
    const said = (): string[] => log.lines.filter((line) => line.includes('cannot be used'));
    while (said().length === 0) await sleep(10);
    await sleep(200);
    assert.equal(await shown(), 'two');
    const complaints = said();
    assert.equal(complaints.length, 1, complaints.join('\n'));
    assert.match(complaints[0] ?? '', /streaming\.tls_key: .*tls\.key/);
    assert.ok(!log.lines.join('\n').includes('nonsense'));

    publish(certs.issue('four'));
    while ((await shown()) !== 'four') await sleep(10);
    await echo('at the end');
  } finally {
    reload.stop();
    session.destroy();
    server.close();
    server.closeAllConnections();
  }
});

test('files that cannot be used are refused at the start, by the name of the setting', async () => {
  using certs = new Certificates();
  const good = certs.issue('server');
  const other = certs.issue('other');
  const file = (name: string, content: string, mode = 0o600): string => {
    const path = join(certs.dir, name);
    writeFileSync(path, content, { mode });
    chmodSync(path, mode);
    return path;
  };
  const world = join(certs.dir, 'world.key');
  copyFileSync(good.key, world);
  chmodSync(world, 0o644);
  const foreign = join(certs.dir, 'foreign.key');
  copyFileSync(good.key, foreign);
  chownSync(foreign, 12_345, 0);
  const cases: readonly [string, TlsFiles, string, RegExp][] = [
    [
      'no certificate',
      { ...good, cert: join(certs.dir, 'none.pem') },
      'STREAMING_TLS_FILE',
      /^streaming\.tls_cert: .*none\.pem.*ENOENT/,
    ],
    ['no key', { ...good, key: join(certs.dir, 'none.key') }, 'STREAMING_TLS_FILE', /^streaming\.tls_key: .*ENOENT/],
    ['garbage certificate', { ...good, cert: file('bad.pem', 'x') }, 'STREAMING_TLS_FILE', /^streaming\.tls_cert: .*bad\.pem/],
    ['garbage key', { ...good, key: file('bad.key', 'x') }, 'STREAMING_TLS_FILE', /^streaming\.tls_key: .*bad\.key/],
    ['empty authority', { ...good, clientCa: file('bad.ca', '') }, 'STREAMING_TLS_FILE', /^streaming\.tls_client_ca: .*bad\.ca/],
    ['key of another', { ...good, key: other.key }, 'STREAMING_TLS_FILE', /^streaming\.tls_key: .*(mismatch|match)/i],
    ['a folder', { ...good, cert: certs.dir }, 'STREAMING_TLS_FILE', /^streaming\.tls_cert: /],
    [
      'readable by all',
      { ...good, key: world },
      'STREAMING_TLS_KEY_EXPOSED',
      /^streaming\.tls_key: .*world\.key has mode 0644.*chmod 600/,
    ],
    ["somebody else's", { ...good, key: foreign }, 'STREAMING_TLS_KEY_EXPOSED', /belongs to user 12345/],
  ];
  for (const [name, tls, code, message] of cases) {
    await assert.rejects(
      startServer(async () => SUCCESS, { tls }),
      (error: BerthError) => {
        assert.equal(error.code, code, name);
        assert.match(error.message, message, name);
        return true;
      },
    );
  }
  chmodSync(good.key, 0o640);
  assert.deepEqual((await readTlsFiles(good)).warnings, [`${good.key} can be read by its group`]);
  chmodSync(good.key, 0o600);
  const later = Date.now() + 3 * 24 * 3_600_000;
  assert.match((await readTlsFiles(good, later)).warnings[0] ?? '', /has expired/);
});

test('a client authority that is replaced lets its old clients in no more, not even by a session that they had', async () => {
  using certs = new Certificates();
  const [first, second] = [certs.authority('first'), certs.authority('second')];
  const clientCa = join(certs.dir, 'clients.pem');
  copyFileSync(first.cert, clientCa);
  const files: TlsFiles = { ...certs.issue('server'), clientCa };
  const seen = await fingerprint(files);
  const server = makeHttpServer(CONFIG, await readTlsFiles(files));
  assert.ok(server instanceof Server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const reload = new TlsReload(server, files, seen, listen(), 20);
  const { port } = server.address() as AddressInfo;
  /** Asks for a page; gives the status line's beginning and the TLS session, `no` where the server hung up. */
  const ask = async (pair: KeyPair, more: ConnectionOptions = {}): Promise<{ answer: string; session: Buffer | undefined }> => {
    const own = { cert: readFileSync(pair.cert), key: readFileSync(pair.key) };
    const socket = connectTls({ port, host: '127.0.0.1', ca: certs.caPem, ...own, ...more });
    const answer = Promise.withResolvers<string>();
    socket.on('error', () => undefined);
    socket.once('secureConnect', () => socket.write('GET / HTTP/1.1\r\n\r\n'));
    socket.once('data', (chunk: Buffer) => answer.resolve(chunk.toString('latin1', 0, 12)));
    socket.once('close', () => answer.resolve('no'));
    const result = { answer: await answer.promise, session: socket.getSession() };
    socket.destroy();
    return result;
  };
  try {
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      copyFileSync(first.cert, clientCa);
      const old = certs.issue(`old-${version}`, first);
      const only = { minVersion: version, maxVersion: version };
      while ((await ask(old, only)).answer !== 'HTTP/1.1 400') await sleep(20);
      const { session } = await ask(old, only);
      copyFileSync(second.cert, clientCa);
      const fresh = certs.issue(`fresh-${version}`, second);
      while ((await ask(fresh, only)).answer !== 'HTTP/1.1 400') await sleep(20);
      assert.equal((await ask(old, only)).answer, 'no', version);
      assert.equal(
        (await ask(old, { ...only, ...(session === undefined ? {} : { session }) })).answer,
        'no',
        `${version}, resumed`,
      );
    }
  } finally {
    reload.stop();
    server.close();
    server.closeAllConnections();
  }
});
