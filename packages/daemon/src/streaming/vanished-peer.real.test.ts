// Clients whose machine vanishes are found within a minute, clients that are merely stopped are kept, whatever they speak: in network
// namespaces of the test's own.

import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { parseMountinfo } from '../lcr/mountinfo.ts';
import { Certificates } from '../testing/certificates.ts';

const FOUND_MS = 60_000;
/** How long the stopped clients stay stopped: longer than a vanished one is waited for. */
const STOPPED_MS = 80_000;
const SERVER = fileURLToPath(new URL('../testing/namespace-server.ts', import.meta.url));
const CLIENT = fileURLToPath(new URL('../testing/namespace-client.ts', import.meta.url));

const NAMESPACES = '/run/netns';

const isMounted = (path: string): boolean =>
  parseMountinfo(readFileSync('/proc/self/mountinfo', 'latin1')).some(({ point }) => point === path);

/** Namespaces `bv-PID-name` with a link each to `bv-PID-server`, gone with the test. */
class Network implements Disposable {
  readonly #made: string[] = [];
  /** `ip netns` mounts its folder with the first namespace of a machine, and leaves that. */
  readonly #mountedBefore = isMounted(NAMESPACES);
  #links = 0;

  name(name: string): string {
    return `bv-${process.pid}-${name}`;
  }

  add(name: string): void {
    execFileSync('ip', ['netns', 'add', this.name(name)]);
    this.#made.push(name);
    execFileSync('ip', ['-n', this.name(name), 'link', 'set', 'lo', 'up']);
  }

  /** A pair of links between the server's namespace and another; the server's address is the same on all of them. */
  link(name: string): void {
    this.#links += 1;
    const net = `10.98.${this.#links}`;
    const [server, client] = [this.name('server'), this.name(name)];
    execFileSync('ip', ['link', 'add', `s${this.#links}`, 'netns', server, 'type', 'veth', 'peer', 'name', 'c', 'netns', client]);
    execFileSync('ip', ['-n', server, 'addr', 'add', `${net}.1/24`, 'dev', `s${this.#links}`]);
    execFileSync('ip', ['-n', client, 'addr', 'add', `${net}.2/24`, 'dev', 'c']);
    execFileSync('ip', ['-n', server, 'link', 'set', `s${this.#links}`, 'up']);
    execFileSync('ip', ['-n', client, 'link', 'set', 'c', 'up']);
    execFileSync('ip', ['-n', client, 'route', 'add', '10.98.0.1/32', 'via', `${net}.1`]);
  }

  run(name: string, program: string, args: readonly string[]): ChildProcess {
    return spawn('ip', ['netns', 'exec', this.name(name), process.execPath, '--conditions=source', program, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  }

  [Symbol.dispose](): void {
    for (const name of this.#made) execFileSync('ip', ['netns', 'del', this.name(name)]);
    if (!this.#mountedBefore && isMounted(NAMESPACES) && readdirSync(NAMESPACES).length === 0) execFileSync('umount', [NAMESPACES]);
  }
}

type Line = {
  readonly urls?: Readonly<Record<string, string>>;
  readonly attached?: string;
  readonly full?: string;
  readonly closed?: string;
  readonly reason?: string;
  readonly input?: string;
};

test('silent, under output or with full buffers, cut off or unplugged: found within a minute; stopped clients are kept and go on', async () => {
  using certs = new Certificates();
  const pair = certs.issue('server', certs.ca, 'IP:10.98.0.1');
  using network = new Network();
  const kinds = ['cut', 'unplugged', 'full', 'stopped'];
  const wires = ['websocket', 'spdy', 'forward', 'tunnel'];
  const names = kinds.flatMap((kind) => wires.flatMap((wire) => [`${kind}-${wire}-silent`, `${kind}-${wire}-output`]));
  for (const name of ['server', ...kinds]) network.add(name);
  execFileSync('ip', ['-n', network.name('server'), 'addr', 'add', '10.98.0.1/32', 'dev', 'lo']);
  for (const kind of kinds) network.link(kind);

  const server = network.run('server', SERVER, ['10.98.0.1', pair.cert, pair.key, ...names]);
  const children = [server];
  try {
    const lines: (Line & { readonly at: number })[] = [];
    assert.ok(server.stdout);
    createInterface({ input: server.stdout }).on('line', (line) =>
      lines.push({ ...(JSON.parse(line) as Line), at: performance.now() }),
    );
    const until = async (what: string, holds: () => boolean, ms: number): Promise<void> => {
      for (const end = performance.now() + ms; !holds(); await sleep(50))
        assert.ok(performance.now() < end, `${what}: ${JSON.stringify(lines)}`);
    };
    await until('the server serves', () => lines.length > 0, 30_000);
    const urls = lines[0]?.urls ?? {};
    for (const kind of kinds) {
      const own = names.filter((name) => name.startsWith(kind)).map((name) => `${name}=${urls[name]}`);
      children.push(network.run(kind, CLIENT, [certs.ca.cert, ...own]));
    }
    await until('all are attached', () => lines.filter((line) => line.attached !== undefined).length === names.length, 30_000);
    const [, , , full, stopped] = children;
    full?.kill('SIGSTOP');
    stopped?.kill('SIGSTOP');
    const isFull = (name: string): boolean => lines.some((line) => line.full === name);
    const toFill = names.filter((name) => /^(full|stopped)-.*-output$/.test(name));
    await until('stopped clients have no room', () => toFill.every(isFull), 60_000);

    for (const kind of ['cut', 'full']) {
      execFileSync('ip', ['-n', network.name(kind), 'route', 'replace', 'blackhole', '10.98.0.1/32']);
    }
    execFileSync('ip', ['-n', network.name('unplugged'), 'link', 'set', 'c', 'down']);
    const began = performance.now();
    const lost = names.filter((name) => !name.startsWith('stopped'));
    const gone = (): string[] => lines.flatMap(({ closed }) => closed ?? []);
    await until('all that vanished are found', () => lost.every((name) => gone().includes(name)), FOUND_MS + 5_000);
    for (const { closed, reason, at } of lines.filter((line) => line.closed !== undefined)) {
      const took = Math.round(at - began);
      process.stderr.write(`${closed}: ${reason} after ${took} ms\n`);
      assert.ok(took < FOUND_MS, `${closed} after ${took} ms`);
      assert.match(reason ?? '', /^connection lost: E(TIMEDOUT|HOSTUNREACH)$/);
    }

    await sleep(Math.max(0, STOPPED_MS - (performance.now() - began)));
    assert.deepEqual(gone().toSorted(), lost.toSorted(), 'no stopped client was ended');
    stopped?.kill('SIGCONT');
    stopped?.kill('SIGUSR2');
    const heard = (name: string): boolean => lines.some(({ input }) => input === name);
    const stayed = names.filter((name) => name.startsWith('stopped'));
    await until('the stopped clients go on', () => stayed.every(heard), 30_000);
  } finally {
    for (const child of children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    }
  }
});
