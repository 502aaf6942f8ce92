/** `berth-shim spawn`: programs with their input, output and ends; what they inherit; what cannot be started; a hostile daemon. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test, type TestContext } from 'node:test';
import { SHIM, SKIP, until } from './support/container.ts';

const options = { skip: SKIP };
const [RUN, KILL, LEAVE] = [1, 2, 3];
const [HAS_INPUT, OWN_SESSION] = [1, 2];
const [STDOUT, STDERR, ENDED, FAILED, TAKEN] = [1, 2, 3, 4, 5];
const ENOENT = 2;
const EACCES = 13;
const MAX_JOBS = 128;

type Answers = { taken: boolean; stdout: Buffer; stderr: Buffer; ended?: number; failed?: number };

function request(id: number, kind: number | undefined, flags = 0, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt32LE(payload.length, 0);
  head.writeUInt32LE(id, 4);
  head[8] = kind ?? 0;
  head[9] = flags;
  return Buffer.concat([head, payload]);
}

function run(id: number, args: readonly string[], { input, flags = 0 }: { input?: Uint8Array; flags?: number } = {}): Buffer {
  const words = Buffer.from(args.map((word) => `${word}\0`).join(''));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(words.length);
  const all = flags | (input === undefined ? 0 : (HAS_INPUT ?? 0));
  return request(id, RUN, all, Buffer.concat([length, words, input ?? Buffer.alloc(0)]));
}

/** The daemon's side. */
class Daemon implements Disposable {
  readonly child: ChildProcess;
  stderr = '';
  /** Its stderr is at its end: nobody has it any more. */
  deserted = false;
  #received: Buffer = Buffer.alloc(0);
  readonly #answers = new Map<number, Answers>();

  constructor() {
    this.child = spawn(SHIM, ['spawn'], { stdio: ['pipe', 'pipe', 'pipe'], env: { PATH: '/usr/bin:/bin', MARK: 'of the daemon' } });
    this.child.stdout?.on('data', (chunk: Buffer) => this.#read(Buffer.concat([this.#received, chunk])));
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    this.child.stderr?.once('end', () => (this.deserted = true));
    this.child.stdin?.on('error', () => {});
  }

  send(...requests: readonly Buffer[]): void {
    this.child.stdin?.write(Buffer.concat(requests));
  }

  of(id: number): Answers {
    const found = this.#answers.get(id) ?? { taken: false, stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) };
    this.#answers.set(id, found);
    return found;
  }

  async over(id: number): Promise<Answers> {
    await until(() => this.of(id).ended !== undefined || this.of(id).failed !== undefined, `the end of ${id}`);
    return this.of(id);
  }

  /** Memory of the helper that is no file's. Not Private_Dirty: pages of a program that has just been built wait to be written. */
  get anonymousKb(): number {
    const [, kb = ''] = /^Anonymous: +(\d+) kB/m.exec(readFileSync(`/proc/${this.child.pid}/smaps_rollup`, 'utf8')) ?? [];
    return Number(kb);
  }

  async ended(): Promise<number | null> {
    await until(() => this.child.exitCode !== null || this.child.signalCode !== null, 'the helper ends');
    return this.child.exitCode;
  }

  #read(bytes: Buffer): void {
    let at = 0;
    while (bytes.length - at >= 12 && bytes.length - at >= 12 + bytes.readUInt32LE(at)) {
      const payload = bytes.subarray(at + 12, at + 12 + bytes.readUInt32LE(at));
      const answers = this.of(bytes.readUInt32LE(at + 4));
      const kind = bytes[at + 8];
      // Before anything else of a program.
      assert.ok(kind === TAKEN || answers.taken);
      if (kind === TAKEN) answers.taken = true;
      else if (kind === STDOUT) answers.stdout = Buffer.concat([answers.stdout, payload]);
      else if (kind === STDERR) answers.stderr = Buffer.concat([answers.stderr, payload]);
      else if (kind === ENDED) answers.ended = payload.readUInt32LE();
      else if (kind === FAILED) answers.failed = payload.readUInt32LE();
      else assert.fail(`kind ${kind}`);
      at += 12 + payload.length;
    }
    this.#received = Buffer.from(bytes.subarray(at));
  }

  [Symbol.dispose](): void {
    this.child.kill('SIGKILL');
  }
}

const sh = (id: number, script: string, more: Parameters<typeof run>[2] = {}): Buffer => run(id, ['sh', '-c', script], more);

test('output, errors and status of each program, in any order; signals are 255', options, async () => {
  using daemon = new Daemon();
  daemon.send(
    sh(1, 'sleep 0.3; echo one; echo err >&2; exit 3'),
    sh(2, 'printf "a\\000b"'),
    sh(3, 'kill -9 $$'),
    run(0xffff_ffff, ['true', ...Array.from({ length: 1023 }, () => 'x')]),
  );
  await daemon.over(2);
  // What ends services does not end it.
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'] as const) daemon.child.kill(signal);
  const [first, second, third, last] = await Promise.all([1, 2, 3, 0xffff_ffff].map((id) => daemon.over(id)));
  assert.deepEqual([String(first?.stdout), String(first?.stderr), first?.ended], ['one\n', 'err\n', 3]);
  assert.deepEqual([second?.stdout, second?.ended], [Buffer.from('a\0b'), 0]);
  assert.deepEqual([third?.ended, last?.ended], [255, 0]);
  daemon.child.stdin?.end();
  assert.equal(await daemon.ended(), 0);
  assert.equal(daemon.stderr, '');
});

test('input of 0 bytes and of 8 MiB, exactly; without any stdin is at its end', options, async () => {
  using daemon = new Daemon();
  const large = randomBytes(8 * 1024 * 1024);
  daemon.send(run(1, ['cat'], { input: large }), run(2, ['wc', '-c'], { input: Buffer.alloc(0) }), run(3, ['wc', '-c']));
  const [first, second, third] = await Promise.all([1, 2, 3].map((id) => daemon.over(id)));
  assert.equal(first?.ended, 0);
  assert.ok(first.stdout.equals(large));
  assert.deepEqual([String(second?.stdout), String(third?.stdout)], ['0\n', '0\n']);
});

test('settings do not stay in memory behind the program that they were for', options, async () => {
  using daemon = new Daemon();
  const next = run(2, ['true']);
  daemon.send(run(1, ['true'], { input: Buffer.alloc(8 * 1024 * 1024, 'secret') }), next.subarray(0, 5));
  await daemon.over(1);
  daemon.send(next.subarray(5));
  await daemon.over(2);
  if (!SHIM.includes('sanitize')) assert.ok(daemon.anonymousKb < 200, `${daemon.anonymousKb} KB`);
});

test(
  'what a program inherits: four descriptors, no signal blocked or ignored, its own session where asked for',
  options,
  async () => {
    using daemon = new Daemon();
    const script = 'ls /proc/self/fd; grep -E "^Sig(Blk|Ign)" /proc/self/status; pwd; env | grep -E "^(PATH|MARK)" | sort';
    daemon.send(sh(1, script, { input: Buffer.from('x') }), sh(2, 'cut -d" " -f6 /proc/$$/stat; echo $$', { flags: OWN_SESSION }));
    // The fifth descriptor is that of `ls` itself.
    const none = '0000000000000000';
    const inherited = [
      '0',
      '1',
      '2',
      '3',
      '4',
      `SigBlk:\t${none}`,
      `SigIgn:\t${none}`,
      '/',
      'MARK=of the daemon',
      'PATH=/usr/bin:/bin',
    ];
    assert.deepEqual(
      String((await daemon.over(1)).stdout)
        .trim()
        .split('\n'),
      inherited,
    );
    const [session, pid] = String((await daemon.over(2)).stdout).split('\n');
    assert.equal(session, pid);
  },
);

test('what cannot be executed is an errno', options, async () => {
  using daemon = new Daemon();
  daemon.send(run(1, ['no-such-program']), run(2, ['/etc/passwd']), run(3, ['/no/such']), run(4, ['true']));
  const answers = await Promise.all([1, 2, 3, 4].map((id) => daemon.over(id)));
  assert.deepEqual(
    answers.map(({ failed, ended }) => [failed, ended]),
    [
      [ENOENT, undefined],
      [EACCES, undefined],
      [ENOENT, undefined],
      [undefined, 0],
    ],
  );
});

test('a program is killed; one that is left goes on, and nobody hears of it', options, async (t: TestContext) => {
  const dir = mkdtempSync(join(tmpdir(), 'berth-spawn-'));
  t.after(() => rmSync(dir, { recursive: true }));
  using daemon = new Daemon();
  daemon.send(sh(1, 'exec sleep 1000'), sh(2, `echo there; until [ -e ${dir}/go ]; do sleep 0.01; done; : >${dir}/gone`));
  await until(() => daemon.of(2).stdout.length > 0, 'its word');
  daemon.send(request(1, KILL), request(2, LEAVE), request(77, KILL), request(78, LEAVE));
  assert.equal((await daemon.over(1)).ended, 255);
  daemon.send(sh(3, `: >${dir}/go`));
  await daemon.over(3);
  await until(() => existsSync(`${dir}/gone`), 'the program that was left');
  // Its place and its number are free.
  daemon.send(sh(2, 'echo new'));
  assert.deepEqual([String((await daemon.over(2)).stdout), daemon.of(2).ended], ['there\nnew\n', 0]);
});

test('as many as there is room for at once, again and again; no zombie, no descriptor and no memory stays', options, async () => {
  using daemon = new Daemon();
  const pid = daemon.child.pid ?? 0;
  const state = (): number[] => [
    readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').match(/\d+/g)?.length ?? 0,
    readFileSync(`/proc/${pid}/fdinfo/5`, 'utf8').match(/^tfd:/gm)?.length ?? 0,
  ];
  for (let round = 0; round < 20; round += 1) {
    const ids = Array.from({ length: MAX_JOBS }, (_each, i) => round * 1000 + i);
    daemon.send(...ids.map((id) => sh(id, `echo ${id}; cat`, { input: Buffer.alloc(20_000, 'x') })));
    for (const id of ids) {
      const { stdout, ended } = await daemon.over(id);
      assert.deepEqual([stdout.length, ended], [`${id}\n`.length + 20_000, 0]);
    }
  }
  await until(() => state()[0] === 0, 'no child is left');
  assert.equal(state()[1], 2, 'requests and children are watched');
  if (!SHIM.includes('sanitize')) assert.ok(daemon.anonymousKb < 200, `${daemon.anonymousKb} KB`);
  daemon.send(...Array.from({ length: MAX_JOBS + 1 }, (_each, i) => run(i, ['sleep', '5'])));
  assert.equal(await daemon.ended(), 0);
  assert.equal(daemon.stderr, 'berth-shim: not a request\n');
});

test('the daemon has gone: programs go on to their end, and the helper with them', options, async (t: TestContext) => {
  const dir = mkdtempSync(join(tmpdir(), 'berth-spawn-'));
  t.after(() => rmSync(dir, { recursive: true }));
  using daemon = new Daemon();
  const wait = `until [ -e ${dir}/go ]; do sleep 0.01; done`;
  // What it says to nobody does not end it.
  daemon.send(sh(1, `echo there; ${wait}; echo to nobody && : >${dir}/gone`), sh(2, `echo there; ${wait}; : >${dir}/left`));
  await until(() => daemon.of(1).stdout.length > 0 && daemon.of(2).stdout.length > 0, 'their word');
  daemon.send(request(2, LEAVE));
  daemon.child.stdin?.end();
  daemon.child.stdout?.destroy();
  await sleep(100);
  assert.equal(daemon.child.exitCode, null);
  using other = new Daemon();
  other.send(sh(1, `: >${dir}/go`));
  assert.equal(await daemon.ended(), 0);
  assert.deepEqual([existsSync(`${dir}/gone`), existsSync(`${dir}/left`)], [true, true]);
  assert.equal(daemon.stderr, '');
});

test('the helper is killed: programs end with it, and its stderr when the last process of theirs has', options, async () => {
  using daemon = new Daemon();
  daemon.send(
    sh(1, 'echo $$; exec sleep 1000'),
    sh(2, 'echo $$; exec sleep 1000', { flags: OWN_SESSION }),
    sh(3, 'echo $$; exec sleep 1000'),
    // A child of one, which nothing kills.
    sh(4, 'sleep 0.7 >/dev/null 2>&1 & echo $!; exec sleep 1000'),
  );
  await until(() => [1, 2, 3, 4].every((id) => daemon.of(id).stdout.includes('\n')), 'their words');
  daemon.send(request(3, LEAVE));
  daemon.child.kill('SIGKILL');
  await until(() => daemon.deserted, 'the end of the last one');
  for (const id of [1, 2, 3, 4]) assert.equal(existsSync(`/proc/${Number(daemon.of(id).stdout)}/exe`), false, `${id}`);
});

test('what is no request ends the helper, whatever it is and however it is cut', options, async () => {
  const words = Buffer.from('\x05\0\0\0true\0');
  const wrong = {
    'an unknown kind': request(1, 9),
    'kind 0': request(1, 0),
    'unknown flags': request(1, RUN, 4, words),
    'a kill with flags': request(1, KILL, 1),
    'a kill with more': request(1, KILL, 0, Buffer.from('x')),
    'reserved bytes': Buffer.concat([request(1, KILL).subarray(0, 10), Buffer.of(0, 1)]),
    'no words': request(1, RUN),
    'half a length': request(1, RUN, 0, Buffer.of(1, 0)),
    'more words than there are': request(1, RUN, 0, Buffer.from('\x06\0\0\0true\0')),
    'a length at the end of numbers': request(1, RUN, 0, Buffer.from('\xff\xff\xff\xfftrue\0', 'latin1')),
    'words without an end': request(1, RUN, 0, Buffer.from('\x04\0\0\0true')),
    'an empty program': request(1, RUN, 0, Buffer.from('\x01\0\0\0\0')),
    'input that was not said': request(1, RUN, 0, Buffer.from('\x05\0\0\0true\0input')),
    'too many words': run(
      1,
      Array.from({ length: 1025 }, () => 'x'),
    ),
    'a number that is in use': Buffer.concat([sh(1, 'sleep 2'), sh(1, 'true')]),
    'too long': Buffer.concat([Buffer.of(0, 0, 0, 1), request(1, RUN).subarray(4)]),
  };
  for (const [what, bytes] of Object.entries(wrong)) {
    for (const at of [bytes.length, 7, 13]) {
      using daemon = new Daemon();
      daemon.send(bytes.subarray(0, at));
      await sleep(2);
      daemon.send(bytes.subarray(at));
      assert.equal(await daemon.ended(), 0, what);
      assert.equal(daemon.stderr, 'berth-shim: not a request\n', what);
    }
  }
});
