/** One `berth-shim spawn` process: starts programs for the daemon, whose own forks take milliseconds in which nobody is served (shim/PROTOCOL.md, "Spawning"). */
import { type ChildProcess, spawn } from 'node:child_process';
import { getSystemErrorMessage } from 'node:util';
import { failed } from './refuse.ts';
import { ENVIRONMENT, type Finished, HELPER_TIMEOUT_MS, MAX_HELPER_OUTPUT_BYTES, type Run, type RunOptions, run } from './spawn.ts';

/** Programs that run at one time, as the process takes them; more wait here. */
const MAX_JOBS = 128;
/** What the process takes of one request: more would end it, and with it what others wait for. */
const MAX_WORDS = 1_024;
const MAX_PAYLOAD_BYTES = 8 * 1024 * 1024 + 48 * 1024;
const HEAD_BYTES = 12;
/** Helpers that are asked when one after the other is killed before it has taken the request. */
const ATTEMPTS = 2;
const REQUEST = { run: 1, kill: 2, leave: 3 } as const;
const FLAG = { input: 1, ownSession: 2 } as const;
const ANSWER = { stdout: 1, stderr: 2, ended: 3, failed: 4, taken: 5 } as const;
const MAX_OUTPUT_BYTES = 4_096;
const NUMBER_BYTES = 4;
const LAST_ID = 0xffff_ffff;
/** The process says one line when it cannot start. */
const MAX_STDERR_BYTES = 4 * 1024;

type Job = {
  readonly program: string;
  readonly options: RunOptions;
  /** RUN's payload. */
  readonly payload: Buffer;
  /** It has been handed over: its time begins. */
  begun(): void;
  /** The process has it; before that it has certainly not been run. */
  taken: boolean;
  /** What it has said, cut off at the limit. */
  readonly said: { stdout: string; stderr: string };
  /** Resolves or rejects the call, once; undefined: the process was killed before it took this. */
  resolve(done: Finished | undefined): void;
  reject(error: Error): void;
};

/**
 * Starts the process with the first program, and again after one that has ended. When it is killed, the programs under way end with it, and
 * their calls fail once they have; what it had not taken yet is asked of another one.
 */
export class Spawner {
  readonly #shim: string;
  #process: SpawnerProcess | undefined;
  #closed = false;

  /** `shim`: path of the program. */
  constructor(shim: string) {
    this.#shim = shim;
  }

  /** As `run` of spawn.ts. */
  readonly run: Run = async (program, args, options = {}) => {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      // What is still cleaned up at the daemon's end.
      if (this.#closed) return await run(program, args, options);
      if (this.#process === undefined || this.#process.ended) this.#process = new SpawnerProcess(this.#shim);
      const done = await this.#process.run(program, args, options);
      if (done !== undefined) return done;
    }
    throw failed('the helper that starts programs was killed again before it took the next one');
  };

  /** Ends the process once the last program has ended: calls under way get their answers, and a daemon that does not wait for that may end. */
  close(): void {
    this.#closed = true;
    this.#process?.end();
  }
}

class SpawnerProcess {
  readonly #child: ChildProcess;
  /** By request id; those in `#running` have been written, those in `#queued` wait for room, oldest first. */
  readonly #running = new Map<number, Job>();
  readonly #queued = new Map<number, Job>();
  #nextId = 0;
  #received: Buffer = Buffer.alloc(0);
  #stderr = '';
  #fault: Error | undefined;
  #keepsAlive = true;
  #ending = false;

  constructor(shim: string) {
    this.#child = spawn(shim, ['spawn'], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: ENVIRONMENT,
      // A Ctrl-C at the daemon's terminal is for the daemon.
      detached: true,
    });
    const { stdin, stdout, stderr } = this.#child;
    stdin?.on('error', () => {});
    stdout?.on('data', (chunk: Buffer) => this.#read(chunk));
    stderr?.setEncoding('utf8').on('data', (text: string) => {
      if (this.#stderr.length < MAX_STDERR_BYTES) this.#stderr += text;
    });
    this.#child.on('error', (error) => this.#gone(`cannot be started: ${error.message}`));
    this.#child.once('exit', (_code, signal) => {
      // What it has answered is to be read first.
      if (stdout === null || stdout.closed) this.#askElsewhere(signal !== null);
      else stdout.once('close', () => this.#askElsewhere(signal !== null));
    });
    // Programs have its stderr as well, so this is when the last of them has ended, too.
    this.#child.once('close', (code, signal) =>
      this.#gone(this.#stderr.trim() || `has ended with ${signal ?? code ?? 'an error'}`),
    );
    this.#keepAlive(false);
  }

  /** It takes no more programs. */
  get ended(): boolean {
    return this.#fault !== undefined || this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Undefined: it was killed before it had taken this. */
  async run(program: string, args: readonly string[], options: RunOptions): Promise<Finished | undefined> {
    const payload = payloadOf(program, args, options.input);
    const { promise, resolve, reject } = Promise.withResolvers<Finished | undefined>();
    const id = this.#freeId();
    const timeoutMs = options.timeoutMs ?? HELPER_TIMEOUT_MS;
    let timer: NodeJS.Timeout | undefined;
    const begun = (): void => {
      timer = setTimeout(() => {
        this.#write(id, REQUEST.kill, 0, Buffer.alloc(0));
        this.#leave(id);
        reject(failed(`${program} ${args[0] ?? ''} did not end within ${timeoutMs / 1000} s`));
      }, timeoutMs);
    };
    this.#keepAlive(true);
    this.#queued.set(id, { program, options, payload, begun, taken: false, said: { stdout: '', stderr: '' }, resolve, reject });
    this.#sendQueued();
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#rest();
    }
  }

  /** Once nobody waits for a program any more. */
  end(): void {
    this.#ending = true;
    this.#rest();
  }

  #rest(): void {
    const busy = this.#running.size + this.#queued.size > 0;
    this.#keepAlive(busy);
    if (this.#ending && !busy) this.#child.stdin?.end();
  }

  /** Only while somebody waits for it: a program without a daemon's sockets must be able to end. */
  #keepAlive(busy: boolean): void {
    if (busy === this.#keepsAlive) return;
    this.#keepsAlive = busy;
    for (const one of [this.#child, this.#child.stdin, this.#child.stdout, this.#child.stderr] as readonly ({
      ref(): unknown;
      unref(): unknown;
    } | null)[]) {
      if (busy) one?.ref();
      else one?.unref();
    }
  }

  #freeId(): number {
    do this.#nextId = this.#nextId === LAST_ID ? 0 : this.#nextId + 1;
    while (this.#running.has(this.#nextId) || this.#queued.has(this.#nextId));
    return this.#nextId;
  }

  #sendQueued(): void {
    if (this.ended) return;
    for (const [id, job] of this.#queued) {
      if (this.#running.size >= MAX_JOBS) return;
      this.#queued.delete(id);
      this.#running.set(id, job);
      const { input, firstLine } = job.options;
      const flags = (input === undefined ? 0 : FLAG.input) | (firstLine === true ? FLAG.ownSession : 0);
      this.#write(id, REQUEST.run, flags, job.payload);
      job.begun();
    }
  }

  #write(id: number, kind: number, flags: number, payload: Buffer): void {
    const head = Buffer.alloc(HEAD_BYTES);
    head.writeUInt32LE(payload.length, 0);
    head.writeUInt32LE(id, 4);
    head[8] = kind;
    head[9] = flags;
    this.#child.stdin?.write(Buffer.concat([head, payload]));
  }

  /** Its outputs are closed, and its end is nobody's business any more. */
  #leave(id: number): void {
    this.#running.delete(id);
    this.#write(id, REQUEST.leave, 0, Buffer.alloc(0));
    this.#sendQueued();
  }

  #read(chunk: Buffer): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    for (;;) {
      if (this.#fault !== undefined || this.#received.length < HEAD_BYTES) return;
      const bytes = this.#received.readUInt32LE(0);
      const kind = this.#received[8] ?? 0;
      if (!isAnswer(kind, bytes)) {
        this.#fault = failed('the helper that starts programs speaks another language');
        this.#child.kill('SIGKILL');
        return;
      }
      const end = HEAD_BYTES + bytes;
      if (this.#received.length < end) return;
      const frame = this.#received.subarray(0, end);
      this.#received = this.#received.subarray(end);
      this.#answered(frame.readUInt32LE(4), kind, frame.subarray(HEAD_BYTES));
    }
  }

  #answered(id: number, kind: number, payload: Buffer): void {
    const job = this.#running.get(id);
    // Given up meanwhile.
    if (job === undefined) return;
    const { said, options, program } = job;
    job.taken = true;
    if (kind === ANSWER.taken) return;
    if (kind === ANSWER.stdout || kind === ANSWER.stderr) {
      const stream = kind === ANSWER.stdout ? 'stdout' : 'stderr';
      // Latin-1 keeps bytes apart from each other; what is no ASCII is put together at the end.
      if (said[stream].length < MAX_HELPER_OUTPUT_BYTES) said[stream] += payload.toString('latin1');
      if (options.firstLine !== true || stream !== 'stdout' || !said.stdout.includes('\n')) return;
      this.#leave(id);
      return job.resolve({ status: 0, ...textOf(said) });
    }
    this.#running.delete(id);
    this.#sendQueued();
    const number = payload.readUInt32LE(0);
    if (kind === ANSWER.ended) return job.resolve({ status: number, ...textOf(said) });
    job.reject(failed(`cannot run ${program}: ${getSystemErrorMessage(-number)}`));
  }

  /** It has ended: what waits for room, and what a killed one has not taken, has not been run. Who waits for the rest waits for its end. */
  #askElsewhere(killed: boolean): void {
    for (const jobs of [this.#queued, this.#running]) {
      for (const [id, job] of jobs) {
        if (jobs === this.#running && (!killed || job.taken)) continue;
        jobs.delete(id);
        job.resolve(undefined);
      }
    }
  }

  #gone(why: string): void {
    this.#fault ??= failed(`the helper that starts programs ${why}`);
    const jobs = [...this.#running.values(), ...this.#queued.values()];
    this.#running.clear();
    this.#queued.clear();
    for (const job of jobs) job.reject(this.#fault);
  }
}

function isAnswer(kind: number, bytes: number): boolean {
  if (kind === ANSWER.stdout || kind === ANSWER.stderr) return bytes > 0 && bytes <= MAX_OUTPUT_BYTES;
  if (kind === ANSWER.taken) return bytes === 0;
  return (kind === ANSWER.ended || kind === ANSWER.failed) && bytes === NUMBER_BYTES;
}

/** @throws BerthError `RUNTIME_FAILED`: it is nothing that the process would take */
function payloadOf(program: string, args: readonly string[], input: Buffer = Buffer.alloc(0)): Buffer {
  const all = [program, ...args];
  if (program === '' || all.some((word) => word.includes('\0')))
    throw failed(`${program} cannot be run: a word has a NUL, or none is there`);
  const words = Buffer.from(all.map((word) => `${word}\0`).join(''));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(words.length);
  const payload = Buffer.concat([length, words, input]);
  if (all.length > MAX_WORDS || payload.length > MAX_PAYLOAD_BYTES) throw failed(`${program} cannot be run: it is given too much`);
  return payload;
}

function textOf({ stdout, stderr }: Job['said']): { stdout: string; stderr: string } {
  return { stdout: Buffer.from(stdout, 'latin1').toString(), stderr: Buffer.from(stderr, 'latin1').toString() };
}
