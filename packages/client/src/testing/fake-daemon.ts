// A daemon for tests: CRI over gRPC with pods and containers in memory, and attach over WebSocket where a named program plays init.
import { appendFileSync, mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CHANNEL,
  decodeMessage,
  encodeMessage,
  encodeStatus,
  SUBPROTOCOLS,
  successStatus,
  type WireStatus,
} from '@berth/attach-protocol';
import {
  type ContainerConfig,
  ContainerConfigSchema,
  type ExecRequest,
  ImageService,
  type PodSandboxConfig,
  PodSandboxConfigSchema,
  RuntimeService,
} from '@berth/cri-api';
import { Images, Sessions, type SessionSchema } from '@berth/cri-api/berth';
import {
  create,
  type DescMessage,
  type DescService,
  fromBinary,
  type Message,
  type MessageInitShape,
  toBinary,
} from '@bufbuild/protobuf';
import { Metadata, Server, ServerCredentials, status } from '@grpc/grpc-js';
import { type WebSocket, WebSocketServer } from 'ws';

const V5 = SUBPROTOCOLS['v5.channel.k8s.io'];

export type FakePod = { readonly id: string; readonly config: PodSandboxConfig; state: number };
export type FakeContainer = {
  readonly id: string;
  readonly podId: string;
  readonly config: ContainerConfig;
  readonly logPath: string;
  state: number;
  exitCode: number;
};

/** One attach session as the daemon's side sees it. */
export class FakeSession {
  readonly container: FakeContainer;
  readonly from: string | null;
  readonly socket: WebSocket;

  constructor(container: FakeContainer, from: string | null, socket: WebSocket) {
    this.container = container;
    this.from = from;
    this.socket = socket;
  }

  send(channel: number, bytes: string | Uint8Array): void {
    this.socket.send(encodeMessage(V5, channel, Buffer.from(bytes)));
  }

  /** Status, then Close 1000. */
  end(wire: WireStatus = successStatus()): void {
    this.socket.send(encodeMessage(V5, CHANNEL.status, encodeStatus(V5, wire) ?? new Uint8Array()));
    this.socket.close(1000);
  }

  /** The container exits, then the session ends. */
  exit(code: number): void {
    this.container.state = 2;
    this.container.exitCode = code;
    this.end();
  }
}

/** What init does: called at the start, for each session, and for each message of it. Named by the first argument of the container. */
export type FakeProgram = {
  /** In the URL of its sessions; `http` unless said otherwise. */
  readonly scheme?: 'https';
  start?(container: FakeContainer, log: (record: string) => void): void;
  attached?(session: FakeSession): void;
  message?(session: FakeSession, channel: number, payload: Uint8Array): void;
};

class Refused extends Error {
  readonly code: status;
  readonly berthCode: string;

  constructor(code: status, berthCode: string, message: string) {
    super(message);
    this.code = code;
    this.berthCode = berthCode;
  }
}

type Handler = (request: never) => unknown;

export class FakeDaemon implements AsyncDisposable {
  readonly dir: string;
  readonly pods = new Map<string, FakePod>();
  readonly containers = new Map<string, FakeContainer>();
  /** Methods called, in order: `RunPodSandbox`. */
  readonly calls: string[] = [];
  readonly sessions: FakeSession[] = [];
  /** Messages of all sessions, in order. */
  readonly received: { readonly channel: number; readonly text: string }[] = [];
  /** What the list of sessions shows; killing takes one away. */
  readonly live: MessageInitShape<typeof SessionSchema>[] = [];
  /** Who killed which. */
  readonly killed: { readonly id: string; readonly by: string }[] = [];
  /** What Exec was called with. */
  readonly executed: ExecRequest[] = [];
  readonly imported: { names: readonly string[]; bytes: number }[] = [];
  readonly images = new Map([['docker.io/library/busybox:latest', `sha256:${'b'.repeat(64)}`]]);
  readonly #programs: Readonly<Record<string, FakeProgram>>;
  readonly #grpc = new Server();
  readonly #http: HttpServer = createServer((_request, response) => response.writeHead(404).end('no such ticket\n'));
  #made = 0;

  private constructor(dir: string, programs: Readonly<Record<string, FakeProgram>>) {
    this.dir = dir;
    this.#programs = programs;
  }

  static async start(programs: Readonly<Record<string, FakeProgram>> = {}): Promise<FakeDaemon> {
    const daemon = new FakeDaemon(await mkdtemp(join(tmpdir(), 'berth-fake-')), programs);
    await daemon.#listen();
    return daemon;
  }

  get socket(): string {
    return join(this.dir, 'd.sock');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#grpc.forceShutdown();
    for (const { socket } of this.sessions) socket.terminate();
    this.#http.close();
    this.#http.closeAllConnections();
    await rm(this.dir, { recursive: true, force: true });
  }

  /** The only container. */
  get container(): FakeContainer {
    const [only] = this.containers.values();
    if (only === undefined) throw new Error('there is no container');
    return only;
  }

  /** A pod with a running container, made without a call. */
  makeRunning(config: MessageInitShape<typeof ContainerConfigSchema>): FakeContainer {
    const pod = { id: this.#newId(), config: create(PodSandboxConfigSchema, { metadata: { name: 'pod' } }), state: 0 };
    const container: FakeContainer = {
      id: this.#newId(),
      podId: pod.id,
      config: create(ContainerConfigSchema, config),
      logPath: '',
      state: 1,
      exitCode: 0,
    };
    this.pods.set(pod.id, pod);
    this.containers.set(container.id, container);
    return container;
  }

  async #listen(): Promise<void> {
    this.#serve(RuntimeService, this.#runtime());
    this.#serve(ImageService, this.#image());
    this.#serve(Sessions, this.#sessions());
    this.#serveImport();
    const ready = Promise.withResolvers<void>();
    this.#grpc.bindAsync(`unix:${this.socket}`, ServerCredentials.createInsecure(), (error) =>
      error === null ? ready.resolve() : ready.reject(error),
    );
    await ready.promise;
    const ws = new WebSocketServer({ noServer: true, handleProtocols: () => V5.name });
    this.#http.on('upgrade', (request, socket, head) => {
      const url = new URL(request.url ?? '/', 'http://x');
      const container = this.containers.get(url.pathname.split('/').at(-1) ?? '');
      if (container === undefined) {
        socket.end('HTTP/1.1 404 Not Found\r\nContent-Length: 15\r\n\r\nno such ticket\n');
        return;
      }
      ws.handleUpgrade(request, socket, head, (client) =>
        this.#attached(new FakeSession(container, url.searchParams.get('from'), client)),
      );
    });
    await new Promise<void>((resolve) => this.#http.listen(0, '127.0.0.1', resolve));
  }

  #program(container: FakeContainer): FakeProgram {
    return this.#programs[container.config.args[0] ?? ''] ?? {};
  }

  #attached(session: FakeSession): void {
    this.sessions.push(session);
    const program = this.#program(session.container);
    session.socket.on('message', (data: Buffer) => {
      const message = decodeMessage(V5, data);
      if (message === undefined) return;
      this.received.push({ channel: message.channel, text: Buffer.from(message.payload).toString('latin1') });
      program.message?.(session, message.channel, message.payload);
    });
    session.socket.on('error', () => {});
    session.send(CHANNEL.stdout, '');
    program.attached?.(session);
  }

  #newId = (): string => (++this.#made).toString(16).padStart(4, '0').repeat(16);

  #find(id: string): FakeContainer {
    const found = this.containers.get(id);
    if (found === undefined) throw new Refused(status.NOT_FOUND, 'CONTAINER_NOT_FOUND', `no container has the id "${id}"`);
    return found;
  }

  #runtime() {
    const describe = (c: FakeContainer) => ({
      id: c.id,
      podSandboxId: c.podId,
      metadata: c.config.metadata,
      image: c.config.image,
      imageRef: `sha256:${'b'.repeat(64)}`,
      state: c.state,
      createdAt: BigInt(Date.now()) * 1_000_000n,
      labels: c.config.labels,
    });
    return {
      version: () => ({ version: '0.1.0', runtimeName: 'fake', runtimeVersion: '9.9.9', runtimeApiVersion: 'v1' }),
      status: () => ({
        status: { conditions: [{ type: 'RuntimeReady', status: true }] },
        info: { version: '{"berth":"9.9.9"}' },
      }),
      runPodSandbox: ({ config }: { config: PodSandboxConfig }) => {
        const taken = this.pods.values().find((pod) => pod.config.metadata?.name === config.metadata?.name);
        if (taken) throw new Refused(status.ALREADY_EXISTS, 'POD_EXISTS', 'the name is reserved');
        const id = this.#newId();
        this.pods.set(id, { id, config, state: 0 });
        return { podSandboxId: id };
      },
      stopPodSandbox: ({ podSandboxId }: { podSandboxId: string }) => {
        for (const c of this.containers.values()) if (c.podId === podSandboxId && c.state === 1) c.state = 2;
        const pod = this.pods.get(podSandboxId);
        if (pod) pod.state = 1;
        return {};
      },
      removePodSandbox: ({ podSandboxId }: { podSandboxId: string }) => {
        this.pods.delete(podSandboxId);
        for (const c of this.containers.values()) if (c.podId === podSandboxId) this.containers.delete(c.id);
        return {};
      },
      podSandboxStatus: ({ podSandboxId }: { podSandboxId: string }) => {
        const pod = this.pods.get(podSandboxId);
        return { status: { id: podSandboxId, metadata: pod?.config.metadata, state: pod?.state ?? 1 }, info: { info: '{"x":1}' } };
      },
      listPodSandbox: () => ({
        items: [...this.pods.values()].map(({ id, config, state }) => ({
          id,
          metadata: config.metadata,
          state,
          labels: config.labels,
        })),
      }),
      createContainer: ({ podSandboxId, config }: { podSandboxId: string; config: ContainerConfig }) => {
        if (config.image?.image === 'missing')
          throw new Refused(status.NOT_FOUND, 'IMAGE_NOT_FOUND', 'the image "missing" is not there');
        const id = this.#newId();
        const directory = this.pods.get(podSandboxId)?.config.logDirectory ?? '';
        const logPath = directory === '' ? '' : join(directory, config.logPath);
        this.containers.set(id, { id, podId: podSandboxId, config, logPath, state: 0, exitCode: 0 });
        return { containerId: id };
      },
      startContainer: ({ containerId }: { containerId: string }) => {
        const container = this.#find(containerId);
        if (container.config.args[0] === 'nothere') {
          throw new Refused(status.INVALID_ARGUMENT, 'COMMAND_NOT_FOUND', 'nothere: not found in the container');
        }
        container.state = 1;
        mkdirSync(join(container.logPath, '..'), { recursive: true });
        appendFileSync(container.logPath, '');
        this.#program(container).start?.(container, (record) =>
          appendFileSync(container.logPath, `${new Date().toISOString()} ${record}\n`),
        );
        return {};
      },
      stopContainer: ({ containerId }: { containerId: string }) => {
        const container = this.containers.get(containerId);
        if (container?.state === 1) Object.assign(container, { state: 2, exitCode: 143 });
        return {};
      },
      removeContainer: ({ containerId }: { containerId: string }) => {
        this.containers.delete(containerId);
        return {};
      },
      listContainers: ({ filter }: { filter?: { podSandboxId: string; state?: { state: number } } }) => ({
        containers: [...this.containers.values()]
          .filter((c) => !filter?.podSandboxId || c.podId === filter.podSandboxId)
          .filter((c) => filter?.state === undefined || c.state === filter.state.state)
          .map(describe),
      }),
      containerStatus: ({ containerId, verbose }: { containerId: string; verbose: boolean }) => {
        const c = this.#find(containerId);
        const { tty, stdinOnce } = c.config;
        return {
          status: { ...describe(c), exitCode: c.exitCode, logPath: c.logPath },
          info: verbose ? { info: JSON.stringify({ tty, stdinOnce }) } : {},
        };
      },
      attach: ({ containerId }: { containerId: string }) => {
        const container = this.#find(containerId);
        if (container.state !== 1) {
          throw new Refused(status.FAILED_PRECONDITION, 'CONTAINER_NOT_RUNNING', `container ${containerId} is not running: exited`);
        }
        const url = this.#url(containerId);
        return { url: this.#program(container).scheme === 'https' ? url.replace('http:', 'https:') : url };
      },
      // A program plays that of the exec, too.
      exec: (request: ExecRequest) => {
        this.executed.push(request);
        return { url: this.#url(this.#find(request.containerId).id) };
      },
    };
  }

  #url = (containerId: string): string => `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}/attach/${containerId}`;

  #image() {
    return {
      listImages: () => ({ images: [...this.images].map(([name, id]) => ({ id, repoTags: [name], size: 4_200_000n })) }),
      imageStatus: ({ image }: { image?: { image: string } }) => {
        const id = this.images.get(image?.image ?? '');
        return id === undefined ? {} : { image: { id, repoTags: [image?.image ?? ''] } };
      },
      removeImage: ({ image }: { image?: { image: string } }) => {
        this.images.delete(image?.image ?? '');
        return {};
      },
    };
  }

  #sessions() {
    return {
      list: () => ({ sessions: this.live }),
      kill: ({ id, by }: { id: string; by: string }) => {
        const at = this.live.findIndex((session) => session.id?.startsWith(id));
        if (at < 0) throw new Refused(status.NOT_FOUND, 'SESSION_NOT_FOUND', `no session has the id "${id}"`);
        const [session] = this.live.splice(at, 1);
        this.killed.push({ id: session?.id ?? '', by });
        return { session };
      },
    };
  }

  #serve(service: DescService, handlers: Readonly<Record<string, Handler>>): void {
    const definition: Record<string, object> = {};
    const implementation: Record<
      string,
      (call: { request: never }, done: (error: object | null, value?: Message) => void) => void
    > = {};
    for (const method of service.methods) {
      const handler = handlers[method.localName];
      if (handler === undefined || method.methodKind !== 'unary') continue;
      definition[method.name] = definitionOf(method.parent.typeName, method.name, method.input, method.output, false);
      implementation[method.name] = ({ request }, done) => {
        this.calls.push(method.name);
        try {
          done(null, create(method.output, handler(request) as Record<string, unknown>));
        } catch (error) {
          done(toStatus(error));
        }
      };
    }
    this.#grpc.addService(definition as never, implementation as never);
  }

  #serveImport(): void {
    const { method } = Images;
    const definition = definitionOf(Images.typeName, 'Import', method.import.input, method.import.output, true);
    const handler = async (
      call: AsyncIterable<{ part: { case?: string; value?: unknown } }>,
      done: (error: object | null, value?: Message) => void,
    ): Promise<void> => {
      const record = { names: [] as readonly string[], bytes: 0 };
      try {
        for await (const { part } of call) {
          if (part.case === 'start') record.names = (part.value as { names: string[] }).names;
          else record.bytes += (part.value as Uint8Array).length;
        }
      } catch {
        return;
      }
      this.imported.push(record);
      if (record.names.includes('bad'))
        return done(toStatus(new Refused(status.INVALID_ARGUMENT, 'ARCHIVE_INVALID', 'not an image')));
      done(
        null,
        create(method.import.output, { id: `sha256:${'c'.repeat(64)}`, names: [...record.names], size: BigInt(record.bytes) }),
      );
    };
    this.#grpc.addService(
      { Import: definition } as never,
      { Import: (call: never, done: never) => void handler(call, done) } as never,
    );
  }
}

const definitionOf = (service: string, name: string, input: DescMessage, output: DescMessage, requestStream: boolean): object => ({
  path: `/${service}/${name}`,
  requestStream,
  responseStream: false,
  requestDeserialize: (bytes: Buffer) => fromBinary(input, bytes),
  requestSerialize: () => Buffer.alloc(0),
  responseSerialize: (message: Message) => Buffer.from(toBinary(output, message)),
  responseDeserialize: () => undefined,
});

function toStatus(error: unknown): object {
  const metadata = new Metadata();
  if (!(error instanceof Refused)) return { code: status.INTERNAL, details: String(error), metadata };
  metadata.set('berth-error-code', error.berthCode);
  return { code: error.code, details: error.message, metadata };
}
