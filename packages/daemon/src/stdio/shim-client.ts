/** The daemon's end of a shim's socket: connects, says hello, matches replies, hands events to the listener. */
import { connect, type Socket } from 'node:net';
import { Deadline } from '../util/deadline.ts';
import { settledWithin } from '../util/wait.ts';
import { ReadBuffers } from './read-buffers.ts';
import * as frames from './shim-frames.ts';
import {
  ExecFailed,
  type ExecStep,
  type ExitRecord,
  type Location,
  type Shim,
  type ShimIo,
  type ShimListener,
  ShimLost,
  type StdinState,
  type Welcome,
} from './shim.ts';
import { decodeExit, decodeWelcome, need, pipeOffer, STDIN_STATES } from './shim-messages.ts';
import { ShimRefused } from './shim-refused.ts';
import { StdinWay } from './stdin-way.ts';

/** A shim answers HELLO at once; longer than this it is stuck or not a shim. Generous, for loaded machines. */
const HELLO_TIMEOUT_MS = 10_000;
/** Joining a container takes milliseconds; a swamped machine, or a cgroup at its limit, much longer. */
const EXEC_TIMEOUT_MS = 60_000;
/** How long `leave` waits for those who still need `locate`: a thousand round trips take well under a second. */
const LEAVE_HOLD_MS = 5_000;
/** A shim answers at once; one that is stopped or swamped must not keep the daemon from ending. */
const HAND_OVER_MS = 1_000;

/** By number of the shim's step. */
const EXEC_STEPS: readonly ExecStep[] = ['system', 'notfound', 'noexec', 'cwd', 'system', 'seccomp', 'terminal'];

type Pending = { readonly resolve: (data: Buffer) => void; readonly reject: (error: Error) => void };

/**
 * Connects to a shim and proves to be its daemon.
 * @param path the shim's socket
 * @param secret 64 hex digits
 * @throws ShimLost when nobody listens there, the secret is refused or the shim does not answer
 */
export async function connectShim(path: string, secret: string, signal?: AbortSignal): Promise<Shim> {
  return await open(path, frames.encodeHello(Buffer.from(secret, 'hex')), HELLO_TIMEOUT_MS, signal);
}

/**
 * Runs a program in the container besides init. What comes back is a shim of its own: its streams are the program's, its exit the program's, and
 * closing it kills the program with its whole session. Output waits until somebody subscribes.
 * @param program the shim's settings for it, as bytes
 * @throws ExecFailed the program could not be started
 * @throws ShimLost when nobody listens there, the secret is refused or the shim does not answer
 */
export async function connectExec(path: string, secret: string, program: Uint8Array, signal?: AbortSignal): Promise<Shim> {
  return await open(path, frames.encodeExec(Buffer.from(secret, 'hex'), program), EXEC_TIMEOUT_MS, signal);
}

async function open(path: string, first: Buffer, timeoutMs: number, signal: AbortSignal | undefined): Promise<Shim> {
  const client = new ShimClient(path, first);
  const timer = new Deadline(timeoutMs, () => client.close(new ShimLost(`${path}: no answer`)));
  const abort = (): void => client.close(new ShimLost('aborted'));
  signal?.addEventListener('abort', abort, { once: true });
  try {
    if (signal?.aborted) abort();
    await client.welcomed;
    return client;
  } catch (error) {
    client.close();
    throw error instanceof ShimLost || error instanceof ExecFailed
      ? error
      : new ShimLost(`${path}: ${(error as Error).message}`, { cause: error });
  } finally {
    timer.cancel();
    signal?.removeEventListener('abort', abort);
  }
}

class ShimClient implements Shim, ShimIo {
  readonly welcomed: Promise<void>;
  readonly exit: Promise<ExitRecord>;
  readonly #socket: Socket;
  readonly #buffers = new ReadBuffers((from, to) => this.#listener?.holds?.(from, to) ?? true);
  readonly #parser: frames.FrameParser;
  readonly #pending = new Map<number, Pending>();
  readonly #stdin = new StdinWay({
    send: (chunk) => this.#sendStdin(chunk),
    sendClose: () => this.#write(frames.encodeCloseStdin()),
    queued: async () => (await this.#askStdin()).queued,
    ready: () => this.#listener?.credit(),
  });
  readonly #holds = new Set<Promise<unknown>>();
  readonly #welcome = Promise.withResolvers<void>();
  readonly #exit = Promise.withResolvers<ExitRecord>();
  #info: Welcome | undefined;
  #listener: ShimListener | undefined;
  #seq = 0;
  #logBytesLost = 0;
  #stdinOpen = false;
  #lost: ShimLost | undefined;
  #exited: ExitRecord | undefined;

  /** @param first HELLO or EXEC */
  constructor(path: string, first: Buffer) {
    const callback = (bytes: number, memory: Uint8Array): true => {
      this.#read(memory, bytes);
      return true;
    };
    this.#socket = connect({ path, onread: { buffer: () => this.#buffers.space, callback } });
    this.welcomed = this.#welcome.promise;
    this.exit = this.#exit.promise;
    // Both are looked at only by those who asked; a shim that is lost meanwhile must not end the daemon.
    this.welcomed.catch(() => undefined);
    this.exit.catch(() => undefined);
    this.#parser = new frames.FrameParser({
      output: (stream, offset, data) => {
        this.#buffers.output(offset, offset + data.length);
        this.#listener?.output(stream, offset, data);
      },
      control: (type, payload) => this.#control(type, payload),
    });
    this.#socket.on('error', (error) => this.#end(error));
    this.#socket.on('close', () => this.#end());
    this.#write(first);
  }

  get io(): ShimIo {
    return this;
  }

  get welcome(): Welcome {
    if (this.#info === undefined) throw new ShimLost('not welcomed yet');
    return this.#info;
  }

  get logBytesLost(): number {
    return this.#logBytesLost;
  }

  get stdinCredit(): number {
    return this.#stdin.credit;
  }

  get stdinOpen(): boolean {
    return this.#stdinOpen;
  }

  listen(listener: ShimListener | undefined): void {
    this.#listener = listener;
    if (listener === undefined) return;
    if (this.#exited !== undefined) listener.exit(this.#exited);
    else if (this.#lost !== undefined) listener.lost(this.#lost);
  }

  subscribe(from: number, window: number): void {
    this.#write(frames.encodeSubscribe(BigInt(from), window));
  }

  unsubscribe(): void {
    this.#buffers.rest();
    this.#write(frames.encodeUnsubscribe());
  }

  forgetOutput(): void {
    this.#buffers.forget();
  }

  ack(offset: number): void {
    this.#write(frames.encodeAck(offset));
  }

  stdin(chunk: Uint8Array): void {
    this.#stdin.write(chunk);
  }

  closeStdin(): void {
    this.#stdin.close();
  }

  resize(columns: number, rows: number): void {
    this.#write(frames.encodeResize(columns, rows));
  }

  async locate(offset: number | undefined): Promise<Location> {
    const data = await this.#request((seq) => frames.encodeLocate(seq, offset === undefined ? frames.NEXT_OFFSET : BigInt(offset)));
    if (data.length < 48) throw new ShimLost('short answer to LOCATE');
    const first = frames.readOffset(data, 8);
    const end = frames.readOffset(data, 16);
    if (data[0] === 2) return { kind: 'ring', first, end };
    if (data[0] === 3) return { kind: 'lost', first, end };
    return {
      kind: 'log',
      first,
      end,
      inode: data.readBigUInt64LE(24),
      device: data.readBigUInt64LE(32),
      position: frames.readOffset(data, 40),
    };
  }

  async stdinState(): Promise<{ queued: number; unread: number; state: StdinState }> {
    // What moves from here into the pipe while the shim looks there would otherwise be seen by neither.
    const before = this.#stdin.queued;
    const { queued, unread, state } = await this.#askStdin();
    return { queued: queued + Math.max(before, this.#stdin.queued), unread, state };
  }

  async signal(signal: number, everything = false): Promise<void> {
    await this.#request((seq) => frames.encodeSignal(seq, signal, everything), ['ESRCH']);
  }

  async gone(): Promise<boolean> {
    try {
      await this.#request((seq) => frames.encodeSignal(seq, 0, false));
      return false;
    } catch (error) {
      if (error instanceof ShimRefused && error.code === 'ESRCH') return true;
      throw error;
    }
  }

  async reopenLog(): Promise<void> {
    await this.#request(frames.encodeReopenLog);
  }

  async flush(): Promise<void> {
    await this.#request(frames.encodeFlush);
  }

  holdLeave(until: Promise<unknown>): void {
    const hold = until.catch(() => undefined);
    this.#holds.add(hold);
    void hold.finally(() => this.#holds.delete(hold));
  }

  async leave(): Promise<void> {
    if (this.#lost !== undefined) return;
    if (this.#holds.size > 0) await settledWithin(Promise.all(this.#holds), LEAVE_HOLD_MS);
    await this.#request(frames.encodeLeave).catch(() => undefined);
    this.#socket.destroy();
  }

  async handOver(): Promise<void> {
    if (!this.#stdinOpen || this.#lost !== undefined) return;
    this.#stdin.leavePipe();
    // Whoever waits for room finds it in the shim's queue.
    this.#listener?.credit();
    // An answer comes after all that was sent before has been read.
    await settledWithin(this.#askStdin(), HAND_OVER_MS);
  }

  close(error?: Error): void {
    this.#stdin.drop();
    this.#socket.destroy(error);
  }

  async #askStdin(): Promise<{ queued: number; unread: number; state: StdinState }> {
    const data = await this.#request(frames.encodeStdinState);
    if (data.length < 9) throw new ShimLost('short answer to STDIN_STATE');
    return { queued: data.readUInt32LE(0), unread: data.readUInt32LE(4), state: STDIN_STATES[data[8] ?? 0] ?? 'none' };
  }

  #sendStdin(chunk: Uint8Array): void {
    this.#gather();
    for (let at = 0; at < chunk.length; at += frames.MAX_DATA_BYTES) {
      this.#write(frames.encodeStdin(chunk.subarray(at, at + frames.MAX_DATA_BYTES)));
    }
  }

  /** One read from a client may bring several pieces of input: they leave in one write, at the end of this turn, in their order among the rest. */
  #gather(): void {
    if (this.#socket.writableCorked > 0) return;
    this.#socket.cork();
    process.nextTick(() => this.#socket.uncork());
  }

  #read(memory: Uint8Array, bytes: number): void {
    try {
      this.#parser.push(this.#buffers.filled(memory, bytes));
    } catch (error) {
      this.#socket.destroy(error as Error);
    }
    this.#buffers.passed(bytes);
  }

  #write(bytes: Uint8Array): void {
    if (this.#lost === undefined) this.#socket.write(bytes);
  }

  async #request(encode: (seq: number) => Buffer, tolerated: readonly string[] = []): Promise<Buffer> {
    if (this.#lost !== undefined) throw this.#lost;
    this.#seq = (this.#seq + 1) >>> 0;
    const seq = this.#seq;
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    this.#pending.set(seq, { resolve, reject });
    this.#write(encode(seq));
    try {
      return await promise;
    } catch (error) {
      if (error instanceof ShimRefused && tolerated.includes(error.code)) return Buffer.alloc(0);
      throw error;
    }
  }

  #control(type: number, payload: Buffer): void {
    if (this.#info === undefined && type === frames.Event.FAILED) return this.#onFailed(payload);
    if (this.#info === undefined && type !== frames.Event.WELCOME) throw new frames.ShimProtocolError('no WELCOME');
    switch (type) {
      case frames.Event.WELCOME:
        return this.#onWelcome(payload);
      case frames.Event.GAP:
        need(payload, 16);
        return this.#listener?.gap(frames.readOffset(payload, 0), frames.readOffset(payload, 8));
      case frames.Event.STDIN_CREDIT:
        need(payload, 4);
        return this.#stdin.credited(payload.readUInt32LE(0));
      case frames.Event.STDIN_CLOSED:
        need(payload, 1);
        this.#stdinOpen = false;
        this.#stdin.drop();
        return this.#listener?.stdinClosed();
      case frames.Event.LOG_LOSS:
        need(payload, 20);
        this.#logBytesLost = frames.readOffset(payload, 0);
        return this.#listener?.logLoss(this.#logBytesLost);
      case frames.Event.EXIT:
        return this.#onExit(payload);
      case frames.Event.REPLY:
        return this.#onReply(payload);
      default:
        throw new frames.ShimProtocolError(`unknown frame ${type}`);
    }
  }

  #onFailed(p: Buffer): void {
    need(p, 8);
    this.#welcome.reject(new ExecFailed(EXEC_STEPS[p[0] ?? 0] ?? 'system', p.readUInt32LE(4)));
  }

  #onWelcome(p: Buffer): void {
    this.#info = decodeWelcome(p);
    this.#logBytesLost = Number(this.#info.logBytesLost);
    this.#stdin.begin(this.#info.stdinCredit, pipeOffer(p));
    this.#stdinOpen = this.#info.stdin === 'open';
    this.#welcome.resolve();
  }

  #onExit(p: Buffer): void {
    const record = decodeExit(p);
    this.#exited = record;
    this.#stdinOpen = false;
    this.#stdin.drop();
    // The listener first: it may have to hold the shim back before whoever waits for `exit` lets it leave.
    this.#listener?.exit(record);
    this.#exit.resolve(record);
  }

  #onReply(p: Buffer): void {
    if (p.length < 8) throw new frames.ShimProtocolError('short REPLY');
    const seq = p.readUInt32LE(0);
    const errno = p.readUInt32LE(4);
    const pending = this.#pending.get(seq);
    this.#pending.delete(seq);
    if (errno === 0) pending?.resolve(Buffer.from(p.subarray(8)));
    else pending?.reject(new ShimRefused(errno));
  }

  #end(error?: Error): void {
    if (this.#lost !== undefined) return;
    const message =
      error === undefined ? 'the connection to the shim has ended' : `the connection to the shim has failed: ${error.message}`;
    this.#lost = error instanceof ShimLost ? error : new ShimLost(message, { cause: error });
    this.#stdin.drop();
    for (const { reject } of this.#pending.values()) reject(this.#lost);
    this.#pending.clear();
    this.#welcome.reject(this.#lost);
    if (this.#exited !== undefined) return;
    this.#listener?.lost(this.#lost);
    this.#exit.reject(this.#lost);
  }
}
