/**
 * The tail of containers that exit right after their last write, under slow readers and a daemon that is told to stop meanwhile: over
 * both protocols, plain and over TLS.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { RpcError } from '@berth/client';
import { Certificates } from '../../packages/daemon/src/testing/certificates.ts';
import { UpgradeRefused } from '../src/api-server/spdy-connection.ts';
import { AttachClient } from '../src/attach.ts';
import { TestDaemon } from '../src/daemon.ts';
import { runContainer, runPod } from '../src/pods.ts';
import { eventually } from '../src/processes.ts';
import { randomFile } from '../src/random.ts';
import { SpdyAttach } from '../src/spdy-attach.ts';

const MIB = 1024 * 1024;
const BYTES_PER_SECOND = 1_000_000;
/** Of each container: 6 s of reading, more than the kernel's buffers and the live buffer hold. */
const OUTPUT_BYTES = 6 * MIB;
const CONTAINERS = 10;
const CLIENTS_EACH = 10;
/** For all to have read, ms; generous for a loaded machine. */
const READ_MS = 180_000;

type Client = AttachClient | SpdyAttach;

/** Reads at about a rate, and not beyond `most()`: looks often and reads nothing while it is ahead. */
function throttle(client: Client, bytesPerSecond: number, most: () => number): void {
  const began = performance.now();
  const timer = setInterval(() => {
    if (client.closed !== undefined) return clearInterval(timer);
    if (client.stdout.bytes > Math.min(((performance.now() - began) / 1000) * bytesPerSecond, most())) client.pause();
    else client.resume();
  }, 20);
}

for (const protocol of ['WebSocket', 'SPDY'] as const)
  for (const tls of [false, true])
    test(`tail over ${protocol}${tls ? ' and TLS' : ''}: 100 of 100 sessions at 1 MB/s get every byte and the status, containers exiting after their last write, daemon draining`, async () => {
      using certs = new Certificates();
      const server = certs.issue('server');
      const files = tls ? `tls_cert = "${server.cert}"\ntls_key = "${server.key}"\n` : '';
      const ca = tls ? { ca: certs.caPem } : {};
      const open = async (url: string, stdin: boolean): Promise<Client> =>
        protocol === 'SPDY' ? await SpdyAttach.open(url, { stdin, ...ca }) : await AttachClient.open(url, ca);
      await using daemon = await TestDaemon.start({ settings: `[streaming]\n${files}drain_ms = ${READ_MS}` });
      assert.equal(new URL(daemon.streaming).protocol, tls ? 'https:' : 'http:');

      /** Lines of the log that say why a session has not got everything. */
      const failedReads = (): string[] =>
        daemon
          .log()
          .split('\n')
          .filter((one) => one.includes('cannot catch up'));

      const file = join(daemon.dir, 'data');
      const expected = await randomFile(file, OUTPUT_BYTES, 5);
      const pod = await runPod(daemon);
      const mounts = [{ containerPath: '/data', hostPath: file }];
      const containers = await Promise.all(
        Array.from(
          { length: CONTAINERS },
          async () => await runContainer(daemon, pod, 'read go; cat /data', { stdin: true, mounts }),
        ),
      );
      const bystander = await runContainer(daemon, pod, 'read go', { stdin: true });
      const clients: Client[] = [];
      const writers: Client[] = [];
      for (const container of containers) {
        const own = await Promise.all(
          Array.from({ length: CLIENTS_EACH }, async (_, i) => await open(await container.attachUrl({ stdin: i === 0 }), i === 0)),
        );
        clients.push(...own);
        if (own[0] !== undefined) writers.push(own[0]);
      }
      const late = await bystander.attachUrl();
      // However long the containers take: nobody has read everything before they have exited.
      let most = OUTPUT_BYTES / 2;
      for (const client of clients) throttle(client, BYTES_PER_SECOND, () => most);
      for (const writer of writers) await writer.send('go\n');
      await eventually('output is under way everywhere', () => clients.every((client) => client.stdout.bytes > 0), 60_000);
      daemon.signal('SIGTERM');

      // Draining: nothing new, and said so; everything else is served.
      await eventually('Attach is refused', async () => {
        const error: unknown = await bystander.attachUrl().catch((refused: unknown) => refused);
        if (!(error instanceof RpcError)) return false;
        assert.deepEqual([error.status, error.code], ['UNAVAILABLE', 'DAEMON_STOPPING']);
        return true;
      });
      await assert.rejects(open(late, true), (error: Error) =>
        error instanceof UpgradeRefused ? error.status === 503 : error.message === 'HTTP 503',
      );
      await Promise.all(containers.map(async (each) => assert.equal((await each.exited()).exitCode, 0)));
      assert.deepEqual(failedReads(), []);
      const reading = clients.filter((client) => client.closed === undefined).length;
      assert.equal(reading, CONTAINERS * CLIENTS_EACH, 'sessions outlive their containers while they read');
      most = OUTPUT_BYTES;

      for (const client of clients) await client.ended(READ_MS);
      const results = clients.map(({ stdout, stderr, status, closed, faults }) => ({
        bytes: stdout.bytes,
        sha256: stdout.sha256(),
        stderr: stderr.bytes,
        // With its message where it is another one.
        status: status?.status === 'Success' ? 'Success' : status,
        closed,
        faults,
      }));
      assert.deepEqual(failedReads(), []);
      const closed = protocol === 'SPDY' ? { how: 'end', goAways: 1 } : { code: 1000, reason: '' };
      assert.deepEqual(
        results,
        Array.from({ length: CONTAINERS * CLIENTS_EACH }, () => ({
          bytes: OUTPUT_BYTES,
          sha256: expected,
          stderr: 0,
          status: 'Success',
          closed,
          faults: [],
        })),
      );
      await daemon.stopped();
      await daemon.start();
    });
