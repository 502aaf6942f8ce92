/** One `berth-shim dial` process: asks it for connections into its network namespace (shim/PROTOCOL.md, "Dialing"). */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { failed } from './refuse.ts';

/** 4: 127.0.0.1, 6: ::1. */
export type LoopbackFamily = 4 | 6;

/** A connection that could not be made; `errno` is the kernel's positive number. */
export class DialFailed extends Error {
  override readonly name = 'DialFailed';
  readonly errno: number;

  constructor(errno: number) {
    super(`errno ${errno}`);
    this.errno = errno;
  }
}

type Dial = {
  readonly family: LoopbackFamily;
  readonly port: number;
  resolve(socket: Socket): void;
  reject(error: unknown): void;
};

/** Requests without an answer that the process takes at one time; more wait here. */
const MAX_DIALS = 256;
const REQUEST_BYTES = 8;
const KIND = { dial: 1, cancel: 2 } as const;
const LAST_ID = 0xffff_ffff;
/** It says one line when it cannot start. */
const MAX_STDERR_BYTES = 4 * 1024;
/** It ends when its stdin does, within a millisecond; one that does not is killed. */
const END_MS = 2_000;

/** Started at once; whether it could enter the namespace shows in the first answer. */
export class Dialer {
  readonly #child: ChildProcess;
  /** By request id; those in `#sent` have been written, those in `#queued` wait for room, oldest first. */
  readonly #sent = new Map<number, Dial>();
  readonly #queued = new Map<number, Dial>();
  #nextId = 0;
  #stderr = '';
  #fault: Error | undefined;

  /** `shim`: path of the program; `netns`: the pinned namespace. */
  constructor(shim: string, netns: string) {
    this.#child = spawn(shim, ['dial', '--netns', netns], {
      stdio: ['pipe', 'ignore', 'pipe', 'ipc'],
      env: {},
      // A Ctrl-C at the daemon's terminal is for the daemon.
      detached: true,
    });
    this.#child.on('message', (message, handle) => this.#answered(message, handle instanceof Socket ? handle : undefined));
    this.#child.stdin?.on('error', () => {});
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      if (this.#stderr.length < MAX_STDERR_BYTES) this.#stderr += text;
    });
    this.#child.on('error', (error) => this.#gone(`cannot be started: ${error.message}`));
    // After the last answer that it gave.
    this.#child.once('close', (code, signal) =>
      this.#gone(this.#stderr.trim() || `has ended with ${signal ?? code ?? 'an error'}`),
    );
  }

  /** It takes no more dials. */
  get ended(): boolean {
    return this.#fault !== undefined || this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Dials without an answer. */
  get pending(): number {
    return this.#sent.size + this.#queued.size;
  }

  /**
   * A connected socket, half-open, its errors taken note of already.
   * @throws DialFailed the kernel's answer; BerthError `RUNTIME_FAILED` when the process has ended; the signal's reason
   */
  async dial(family: LoopbackFamily, port: number, signal: AbortSignal): Promise<Socket> {
    signal.throwIfAborted();
    if (this.#fault !== undefined) throw this.#fault;
    const id = this.#freeId();
    const { promise, resolve, reject } = Promise.withResolvers<Socket>();
    const abort = (): void => {
      this.#forget(id);
      reject(signal.reason);
    };
    signal.addEventListener('abort', abort, { once: true });
    this.#queued.set(id, { family, port, resolve, reject });
    this.#sendQueued();
    try {
      return await promise;
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  /** Ends the process; what waits for an answer fails. Connections that it has made go on. */
  async end(): Promise<void> {
    if (this.#child.pid === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.stdin?.destroy();
    const timeout = new AbortController();
    const late = sleep(END_MS, true, { signal: timeout.signal, ref: false }).catch(() => false);
    if ((await Promise.race([ended, late])) === true) {
      this.#child.kill('SIGKILL');
      await ended;
    }
    timeout.abort();
  }

  #freeId(): number {
    do this.#nextId = this.#nextId === LAST_ID ? 0 : this.#nextId + 1;
    while (this.#sent.has(this.#nextId) || this.#queued.has(this.#nextId));
    return this.#nextId;
  }

  #sendQueued(): void {
    for (const [id, dial] of this.#queued) {
      if (this.#sent.size >= MAX_DIALS) return;
      this.#queued.delete(id);
      this.#sent.set(id, dial);
      this.#write(id, dial.port, dial.family, KIND.dial);
    }
  }

  #forget(id: number): void {
    this.#queued.delete(id);
    if (!this.#sent.delete(id)) return;
    this.#write(id, 0, 0, KIND.cancel);
    this.#sendQueued();
  }

  #write(id: number, port: number, family: number, kind: number): void {
    const request = Buffer.alloc(REQUEST_BYTES);
    request.writeUInt32LE(id, 0);
    request.writeUInt16LE(port, 4);
    request[6] = family;
    request[7] = kind;
    this.#child.stdin?.write(request);
  }

  #answered(message: unknown, socket: Socket | undefined): void {
    // Nothing but our own listeners may end the daemon over a reset that comes before anybody looks at the connection.
    socket?.on('error', () => {});
    const { id = Number.NaN, errno = 0 } = message as { readonly id?: number; readonly errno?: number };
    const dial = this.#sent.get(id);
    // Given up meanwhile. The program has not got what was meant for it: an end would look like all of it.
    if (dial === undefined) return void socket?.resetAndDestroy();
    this.#sent.delete(id);
    this.#sendQueued();
    if (socket === undefined) return dial.reject(new DialFailed(errno));
    socket.allowHalfOpen = true;
    socket.setNoDelay(true);
    dial.resolve(socket);
  }

  #gone(why: string): void {
    this.#fault ??= failed(`the helper that connects into the pod's network ${why}`);
    const dials = [...this.#sent.values(), ...this.#queued.values()];
    this.#sent.clear();
    this.#queued.clear();
    for (const dial of dials) dial.reject(this.#fault);
  }
}
