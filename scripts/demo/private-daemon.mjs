/** A daemon for the demo alone, in folders and on a port of its own; everything is gone when it closes. */
import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '@berth/client';
import { defaultImage, root } from '../setup/paths.mjs';

/** A daemon serves within a second; a machine on its knees gets more. */
const READY_MS = 30_000;
/** Above the daemon's own limit for stopping. */
const STOP_MS = 30_000;

export class PrivateDaemon {
  // Short: paths of unix sockets may have 107 bytes.
  dir = mkdtempSync('/tmp/berth-');
  socket = join(this.dir, 's/berth.sock');
  logs = join(this.dir, 'logs');
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #child;
  /** @type {import('@berth/client').BerthClient | undefined} */
  #client;

  get client() {
    this.#client ??= connect({ socket: this.socket });
    return this.#client;
  }

  /**
   * Starts it, or starts it again over what it left. Ctrl-C at the demo's terminal is not meant for the daemon, but can catch its
   * process in the moment before that has a session of its own: that one is replaced.
   * @returns {Promise<string>} its ready line
   */
  async start() {
    mkdirSync(this.logs, { recursive: true });
    for (;;) {
      const ready = await this.#launch();
      if (ready !== undefined) return ready;
      if (this.#child?.signalCode === 'SIGINT') continue;
      throw new Error(`berthd did not start:\n${readFileSync(join(this.dir, 'berthd.log'), 'utf8')}`);
    }
  }

  /** @returns {Promise<string | undefined>} undefined when it ended, or took too long */
  async #launch() {
    const flags = ['--root', join(this.dir, 'r'), '--state', join(this.dir, 's'), '--socket', this.socket];
    const args = [...flags, '--streaming-address', '127.0.0.1:0', '--default-image', defaultImage];
    const child = spawn(join(root, 'bin/berthd'), args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    this.#child = child;
    child.stderr.pipe(createWriteStream(join(this.dir, 'berthd.log'), { flags: 'a' }));
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk) => (text += chunk));
    for (const end = performance.now() + READY_MS; performance.now() < end; await sleep(10)) {
      if (text.includes('\n')) return text.split('\n', 1)[0] ?? '';
      if (this.#ended) break;
    }
    return undefined;
  }

  get #ended() {
    return this.#child === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** @param {NodeJS.Signals} signal */
  async end(signal) {
    this.#client?.close();
    this.#client = undefined;
    const child = this.#child;
    if (child === undefined || this.#ended) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await Promise.race([gone, sleep(STOP_MS, undefined, { ref: false })]);
    this.#child = undefined;
  }

  /** Removes every pod, stops the daemon, removes its folders. */
  async close() {
    if (this.#ended) await this.start();
    const { items } = await this.client.runtime.listPodSandbox({});
    for (const { id } of items) {
      await this.client.runtime.stopPodSandbox({ podSandboxId: id });
      await this.client.runtime.removePodSandbox({ podSandboxId: id });
    }
    await this.end('SIGTERM');
    const mounted = readFileSync('/proc/self/mountinfo', 'utf8').includes(`/${basename(this.dir)}/`);
    if (mounted) throw new Error(`mounts are left below ${this.dir}`);
    rmSync(this.dir, { recursive: true, force: true });
  }
}
