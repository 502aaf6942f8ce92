/** A daemon over the fake runtime, and a real gRPC client for it: what the tests of `cri/`, `sandbox/` and `container/` drive. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import assert from 'node:assert/strict';
import { ImageService, RuntimeService } from '@berth/cri-api';
import { ImportRequestSchema, type ImportResponse, ImportResponseSchema } from '@berth/cri-api/berth';
import { create, type DescMessage, fromBinary, type MessageInitShape, type MessageShape, toBinary } from '@bufbuild/protobuf';
import { Client, credentials, Metadata, type ServiceError, status as grpc } from '@grpc/grpc-js';
import { pino } from 'pino';
import { loadConfig } from '../config/load.ts';
import { parseFlags } from '../config/flags.ts';
import type { AttachTarget } from '../container/attach-target.ts';
import type { AttachStreams } from '../cri/deps.ts';
import { type Daemon, type Rooms, startDaemon } from '../daemon.ts';
import { FakeImages } from './fake-images.ts';
import { FakeRuntime } from './fake-runtime.ts';
import { LiveSessions } from '../streaming/live-sessions.ts';
import { silentLog } from '../util/log.ts';
import type { Records } from '../util/records.ts';

type Methods<S extends { readonly method: object }> = {
  [K in keyof S['method']]: S['method'][K] extends { input: infer I extends DescMessage; output: infer O extends DescMessage }
    ? (request?: MessageInitShape<I>, options?: { readonly deadline?: number; readonly api?: string }) => Promise<MessageShape<O>>
    : never;
};

/** Host and daemon of one test. The host (fake runtime, folders) survives `restart` and `die`. */
export class DaemonUnderTest implements AsyncDisposable {
  readonly dir: string;
  readonly runtime: FakeRuntime;
  /** What Attach has been given out for. */
  readonly issued: { readonly target: AttachTarget; readonly streams: AttachStreams }[] = [];
  /** What PortForward has been given out for. */
  readonly forwards: { readonly pod: string; readonly ports: readonly number[] }[] = [];
  /** What the next `issue` fails with. */
  refuseAttach: Error | undefined;
  imageStore = new FakeImages();
  logsReopened = 0;
  hostReleased = 0;
  /** Errors that the daemons of this test have logged. */
  logged = '';
  bootId = 'boot-1';
  /** Further flags of daemons started from now on. */
  flags: readonly string[] = [];
  /** Wraps the records of daemons started from now on. */
  wrapRecords: (records: Records) => Records = (records) => records;
  readonly #clients = new Set<Client>();
  #daemon: Daemon | undefined;

  private constructor(dir: string) {
    this.dir = dir;
    this.runtime = new FakeRuntime(join(dir, 'root'));
  }

  /** A host with a daemon that serves. */
  static async start(): Promise<DaemonUnderTest> {
    const host = await DaemonUnderTest.host();
    await host.boot();
    return host;
  }

  /** A host without a daemon. */
  static async host(): Promise<DaemonUnderTest> {
    return new DaemonUnderTest(await mkdtemp(join(tmpdir(), 'berth-unit-')));
  }

  readonly execsIssued: { readonly containerId: string; readonly streams: AttachStreams; readonly command: readonly string[] }[] =
    [];

  get socket(): string {
    return join(this.dir, 'berth.sock');
  }

  get daemon(): Daemon {
    if (this.#daemon === undefined) throw new Error('no daemon runs');
    return this.#daemon;
  }

  async boot(): Promise<void> {
    const config = await loadConfig(
      parseFlags(['--root', join(this.dir, 'root'), '--state', join(this.dir, 'state'), '--socket', this.socket, ...this.flags]),
    );
    const write = (line: string): void => {
      if (process.env['BERTH_TEST_LOG'] !== undefined) process.stdout.write(line);
      this.logged += line;
    };
    this.#daemon = await startDaemon(config, pino({ level: process.env['BERTH_TEST_LOG'] ?? 'error' }, { write }), this.#rooms());
  }

  /** A daemon that is stopped and started. */
  async restart(): Promise<void> {
    await this.stop();
    await this.boot();
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.close();
    this.#clients.clear();
    await this.#daemon?.close();
    this.#daemon = undefined;
    this.runtime.daemonDied();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await rm(this.dir, { recursive: true, force: true });
  }

  get cri(): Methods<typeof RuntimeService> {
    return this.#client(RuntimeService, 'RuntimeService') as Methods<typeof RuntimeService>;
  }

  get images(): Methods<typeof ImageService> {
    return this.#client(ImageService, 'ImageService') as Methods<typeof ImageService>;
  }

  /** A pod; gives its id. */
  async pod(name = 'pod', more: object = {}): Promise<string> {
    const metadata = { name, namespace: 'default', uid: `uid-${name}`, attempt: 0 };
    return (await this.cri.runPodSandbox({ config: { metadata, logDirectory: '/fake/logs', ...more } })).podSandboxId;
  }

  /** A created container; gives its id. */
  async container(podSandboxId: string, name = 'c', more: object = {}): Promise<string> {
    const config = {
      metadata: { name, attempt: 0 },
      image: { image: 'busybox' },
      command: ['sh'],
      logPath: `${name}.log`,
      ...more,
    };
    return (await this.cri.createContainer({ podSandboxId, config })).containerId;
  }

  /** A pod with a running container. */
  async running(name = 'pod', more: object = {}): Promise<{ readonly pod: string; readonly container: string }> {
    const pod = await this.pod(name);
    const container = await this.container(pod, 'c', more);
    await this.cri.startContainer({ containerId: container });
    return { pod, container };
  }

  /** Streams an import. With `cancel` the stream is not ended: the call is cancelled when that resolves. */
  async importImage(
    messages: readonly MessageInitShape<typeof ImportRequestSchema>[],
    cancel?: Promise<void>,
  ): Promise<ImportResponse> {
    const client = this.#connect();
    const { promise, resolve, reject } = Promise.withResolvers<ImportResponse>();
    const call = client.makeClientStreamRequest(
      '/berth.v1.Images/Import',
      (message: MessageInitShape<typeof ImportRequestSchema>) =>
        Buffer.from(toBinary(ImportRequestSchema, create(ImportRequestSchema, message))),
      (bytes: Buffer) => fromBinary(ImportResponseSchema, bytes),
      (error: ServiceError | null, reply?: ImportResponse) => (reply === undefined ? reject(error) : resolve(reply)),
    );
    for (const message of messages) call.write(message);
    if (cancel === undefined) call.end();
    else void cancel.then(() => call.cancel());
    return await promise.finally(() => this.#disconnect(client));
  }

  #rooms(): Rooms {
    return {
      bootId: this.bootId,
      checkStart: () => {},
      prepareHost: async () => {},
      releaseHost: async () => {
        this.hostReleased++;
      },
      openRuntime: async () => this.runtime,
      openImages: async () => this.imageStore,
      connectShim: this.runtime.connectShim,
      connectExec: this.runtime.connectExec,
      openStreaming: async () => ({
        baseUrl: 'http://127.0.0.1:0',
        sessions: new LiveSessions({ log: silentLog }),
        metrics: () => [],
        drain: async () => {},
        issue: async (target, streams) => {
          if (this.refuseAttach !== undefined) throw this.refuseAttach;
          this.issued.push({ target, streams });
          return `http://127.0.0.1:0/attach/ticket-${this.issued.length}`;
        },
        issuePortForward: (pod, ports) => {
          if (this.refuseAttach !== undefined) throw this.refuseAttach;
          this.forwards.push({ pod: pod.id, ports });
          return `http://127.0.0.1:0/portforward/ticket-${this.forwards.length}`;
        },
        issueExec: (containerId, streams, command) => {
          this.execsIssued.push({ containerId, streams, command });
          return `http://127.0.0.1:0/exec/ticket-${this.execsIssued.length}`;
        },
        logReopened: async () => {
          this.logsReopened++;
        },
        close: async () => {},
      }),
      records: (records) => this.wrapRecords(records),
    };
  }

  #connect(): Client {
    const client = new Client(`unix:${this.socket}`, credentials.createInsecure(), {
      'grpc.default_authority': 'localhost',
      // What kubelet and crictl take.
      'grpc.max_receive_message_length': 16 * 1024 * 1024,
      'grpc.use_local_subchannel_pool': 1,
    });
    this.#clients.add(client);
    return client;
  }

  #disconnect(client: Client): void {
    client.close();
    this.#clients.delete(client);
  }

  #client(service: typeof RuntimeService | typeof ImageService, name: string): object {
    const methods = service.methods.map((method) => [
      method.localName,
      async (request: Record<string, unknown> = {}, options: { readonly deadline?: number; readonly api?: string } = {}) => {
        const client = this.#connect();
        const path = `/runtime.${options.api ?? 'v1'}.${name}/${method.name}`;
        try {
          return await unary(client, path, method.input, method.output, request, options.deadline);
        } finally {
          this.#disconnect(client);
        }
      },
    ]);
    return Object.fromEntries(methods) as object;
  }
}

function unary(
  client: Client,
  path: string,
  input: DescMessage,
  output: DescMessage,
  request: Record<string, unknown>,
  deadline: number | undefined,
): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  client.makeUnaryRequest(
    path,
    (bytes: Uint8Array) => Buffer.from(bytes),
    (bytes: Buffer) => fromBinary(output, bytes),
    toBinary(input, create(input, request)),
    new Metadata(),
    deadline === undefined ? {} : { deadline: Date.now() + deadline },
    (error: ServiceError | null, reply: unknown) => (error === null ? resolve(reply) : reject(error)),
  );
  return promise;
}

/** For assert.rejects: the gRPC code by name, and words of the message. */
export const refused =
  (code: keyof typeof grpc, ...words: string[]) =>
  (error: ServiceError): true => {
    assert.equal(grpc[error.code], code, error.details);
    for (const word of words) assert.ok(error.details.includes(word), `"${error.details}" lacks "${word}"`);
    return true;
  };

/** What verbose answers carry: JSON in the map's entry of that name. */
export function verbose(info: Readonly<Record<string, string>>, name = 'info'): Record<string, unknown> {
  return JSON.parse(info[name] ?? '{}') as Record<string, unknown>;
}
