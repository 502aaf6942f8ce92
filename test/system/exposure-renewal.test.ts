/** Certificate, key and client authority replaced under a running daemon: sessions go on, new connections get the new ones. */
import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, renameSync } from 'node:fs';
import { request } from 'node:https';
import type { TLSSocket } from 'node:tls';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { type AttachSession, attach, type ClientTls } from '@berth/client';
import { Certificates, type KeyPair } from '../../packages/daemon/src/testing/certificates.ts';
import { audited } from '../src/audit.ts';
import { berth } from '../src/berth.ts';
import { TestDaemon } from '../src/daemon.ts';
import { type Sum, sumOf } from '../src/hashing.ts';
import { runContainer, runPod } from '../src/pods.ts';
import { eventually } from '../src/processes.ts';
import { randomBlocks } from '../src/random.ts';

const MIB = 1024 * 1024;
/** The daemon looks every 5 s; this is for a machine on its knees. */
const RENEWED_MS = 120_000;

/** What a client has in its hand. */
const tlsOf = (authority: KeyPair, own: KeyPair): Required<ClientTls> => ({
  ca: readFileSync(authority.cert),
  cert: readFileSync(own.cert),
  key: readFileSync(own.key),
});

const fingerprintOf = ({ cert }: KeyPair): string => new X509Certificate(readFileSync(cert)).fingerprint256;

/** Knocks with a URL that nobody was given, over a connection of its own: the status and the server's certificate, or why there is no answer. */
async function knock(daemon: TestDaemon, tls: ClientTls): Promise<string> {
  const options = {
    agent: false,
    ca: Buffer.from(tls.ca ?? ''),
    cert: Buffer.from(tls.cert ?? ''),
    key: Buffer.from(tls.key ?? ''),
  };
  const knocking = request(`${daemon.streaming}/attach/nobody`, options);
  const answer = Promise.withResolvers<string>();
  knocking.once('response', (response) => {
    const { fingerprint256 } = (response.socket as TLSSocket).getPeerCertificate();
    response.resume().once('end', () => answer.resolve(`${response.statusCode} ${fingerprint256}`));
  });
  knocking.on('error', (error: NodeJS.ErrnoException) => answer.resolve(`refused: ${error.code ?? error.message}`));
  knocking.end();
  return await answer.promise;
}

/** Writes random input, about 5 MiB/s, until it is told to stop; then ends it. */
class Typist implements Disposable {
  sent = 0;
  readonly done: Promise<Sum>;
  #stopped = false;

  constructor(stdin: AttachSession<true>['stdin']) {
    this.done = (async () => {
      const hash = createHash('sha256');
      for (const block of randomBlocks(1024 * MIB, 21)) {
        if (this.#stopped) break;
        hash.update(block);
        this.sent += block.length;
        if (!stdin.write(block)) await once(stdin, 'drain');
        await sleep(200);
      }
      stdin.end();
      return { bytes: this.sent, sha256: hash.digest('hex') };
    })();
  }

  stop(): void {
    this.#stopped = true;
  }

  [Symbol.dispose](): void {
    this.stop();
  }
}

test('a certificate, its key and the client authority are replaced under a live attach: it goes on exactly, new clients meet the new ones', async () => {
  using certs = new Certificates();
  const [before, after] = [certs.authority('clients-before'), certs.authority('clients-after')];
  const [old, renewed] = [certs.issue('server-old'), certs.issue('server-renewed', certs.authority('ca-renewed'))];
  const [leaver, comer] = [certs.issue('leaver', before), certs.issue('comer', after)];
  // The files that the daemon knows; what is renamed over them must be kept for the clients.
  const files = { cert: old.cert, key: old.key, clientCa: before.cert };
  const [oldPrint, newPrint] = [fingerprintOf(old), fingerprintOf(renewed)];
  const newAuthority = { cert: `${certs.dir}/ca-renewed.pem`, key: '' };
  const [leaving, coming] = [tlsOf(certs.ca, leaver), tlsOf(newAuthority, comer)];
  const either = { ca: Buffer.concat([readFileSync(certs.ca.cert), readFileSync(newAuthority.cert)]) };
  const settings = `[streaming]\ntls_cert = "${files.cert}"\ntls_key = "${files.key}"\ntls_client_ca = "${files.clientCa}"`;
  await using daemon = await TestDaemon.start({ settings });
  const pod = await runPod(daemon);
  const container = await runContainer(daemon, pod, 'exec cat', { stdin: true, stdinOnce: true });
  assert.equal(await knock(daemon, { ...leaving, ...either }), `404 ${oldPrint}`);
  assert.match(await knock(daemon, { ...coming, ...either }), /^refused: /);

  const session = await attach(daemon.client, container.id, { stdin: true, tls: leaving });
  using typist = new Typist(session.stdin);
  const echoed = sumOf(session.stdout);
  await eventually('input is on its way', () => typist.sent > MIB);

  renameSync(after.cert, files.clientCa);
  renameSync(renewed.key, files.key);
  renameSync(renewed.cert, files.cert);
  // One look may have fallen between two of the three.
  await eventually(
    'the new certificate is shown, and old clients are refused',
    async () =>
      (await knock(daemon, { ...coming, ...either })) === `404 ${newPrint}` &&
      (await knock(daemon, { ...leaving, ...either })).startsWith('refused: '),
    RENEWED_MS,
  );

  // What was sent before the change is far behind this.
  const { sent } = typist;
  await eventually('the session goes on', () => typist.sent > sent + 2 * MIB);
  // Clients that know only the old authority of the server, and those that have a certificate of the old one of clients.
  await assert.rejects(attach(daemon.client, container.id, { tls: { ...coming, ca: leaving.ca } }), /certificate/);
  await assert.rejects(attach(daemon.client, container.id, { tls: { ...leaving, ca: coming.ca } }), /^StreamLost: /);
  const fresh = await runContainer(daemon, pod, 'while read -r line; do echo "got $line"; done', { stdin: true });
  const options = ['--tls-ca', newAuthority.cert, '--tls-cert', comer.cert, '--tls-key', comer.key];
  const shown = await berth(daemon, ['attach', ...options, fresh.id], 'it\n');
  assert.deepEqual(shown, { code: 0, stdout: 'got it\n', stderr: '' });
  const refused = await berth(daemon, [
    'attach',
    ...options.slice(0, 2),
    '--tls-cert',
    leaver.cert,
    '--tls-key',
    leaver.key,
    fresh.id,
  ]);
  assert.equal(refused.code, 125, refused.stderr);

  typist.stop();
  const [typed, echo, end] = await Promise.all([typist.done, echoed, session.ended]);
  assert.ok(typed.bytes > sent + 2 * MIB);
  assert.deepEqual(echo, typed);
  assert.equal(end.kind === 'status' && end.status.status, 'Success');
  assert.equal((await container.exited()).exitCode, 0);
  const audit = await audited(daemon, 'container', container.id, 2);
  assert.deepEqual(
    audit.map((line) => ['phase', 'clientCertificate', 'bytesIn', 'bytesOut', 'reason'].map((key) => line[key])),
    [
      ['begin', 'CN=leaver', undefined, undefined, undefined],
      ['end', 'CN=leaver', typed.bytes, typed.bytes, 'Exited'],
    ],
  );
  const [begin] = await audited(daemon, 'container', fresh.id, 1);
  assert.equal(begin?.['clientCertificate'], 'CN=comer');
  const log = daemon.log();
  assert.match(log, /"subject":"CN=server-renewed".*"certificate replaced"/);
  assert.ok(!log.includes('BEGIN'), 'no key in the log');
});
