/** Runs real kubectls against a test's API server. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import type { Way } from './api-server/streams.ts';
import type { ApiServer } from './api-server/api-server.ts';
import { collect, type Ran } from './crictl.ts';
import { Terminal } from './terminal.ts';

type Age = { readonly path: string; readonly minor: number };

/** How a kubectl's streams come to the daemon; each is one leg of real clusters. */
export type Leg = {
  readonly name: string;
  readonly age: Age;
  /** What kubectl itself speaks. */
  readonly speaks: 'SPDY' | 'WebSocket';
  readonly way: Way;
};

/** Paths of the binaries; scripts/test.mjs brings them and says where they are. */
function ages(): Age[] {
  const paths = process.env['BERTH_KUBECTLS'];
  if (paths === undefined)
    throw new Error('BERTH_KUBECTLS must name kubectl binaries, oldest first; `npm test -- interop` brings them');
  return paths.split(':').map((path) => {
    // The short text of 1.20 says it too.
    const text = execFileSync(path, ['version', '--client', '--output=json'], { encoding: 'utf8' });
    return { path, minor: Number(/"gitVersion": "v1\.(\d+)\./.exec(text)?.[1]) };
  });
}

/** WebSocket came with 1.30. */
const FIRST_WEBSOCKET = 30;
/** Before this one kubectl reads from a WebSocket before it has made its streams (kubernetes#131189, corrected by #131203). */
const FIRST_READY = 34;
/** What it says then of the empty message that begins a session: nothing is lost by that. */
const TOO_EARLY = /^E\d{4} \S+ +\d+ websocket\.go:\d+\] Unknown stream id 1, discarding message\n/;

/** Every kubectl in every way that it has: SPDY raw, and for new ones WebSocket raw and translated. */
export function legs(): Leg[] {
  return ages().flatMap((age) => {
    const leg = (speaks: Leg['speaks'], way: Way): Leg => ({ name: `kubectl 1.${age.minor} ${speaks} ${way}`, age, speaks, way });
    if (age.minor < FIRST_WEBSOCKET) return [leg('SPDY', 'raw')];
    return [leg('SPDY', 'raw'), leg('WebSocket', 'raw'), leg('WebSocket', 'translated')];
  });
}

/**
 * What must hold after a leg's tests: nothing went wrong behind the clients' backs, and every stream went the leg's way (kubectl falls
 * back to SPDY without a word).
 */
export function checkLeg(api: ApiServer, { speaks, way }: Leg): void {
  assert.deepEqual(api.faults.splice(0), []);
  const upgrades = api.upgrades.splice(0);
  assert.notEqual(upgrades.length, 0);
  const expected = speaks === 'SPDY' ? / SPDY\/3\.1 raw$/ : way === 'raw' ? / websocket raw$/i : / websocket translated$/i;
  assert.deepEqual(
    upgrades.filter((upgrade) => !expected.test(upgrade)),
    [],
  );
}

export class Kubectl {
  readonly leg: Leg;
  readonly #kubeconfig: string;
  readonly #folder: string;

  /** @param folder for its settings and caches */
  constructor(leg: Leg, api: ApiServer, folder: string) {
    this.leg = leg;
    this.#folder = folder;
    this.#kubeconfig = api.kubeconfig(leg.way, folder);
  }

  get minor(): number {
    return this.leg.age.minor;
  }

  /** @param output a file for its stdout, in place of a pipe */
  spawn(args: readonly string[], output: number | 'pipe' = 'pipe'): ChildProcess {
    return spawn(this.leg.age.path, [...args], { stdio: ['pipe', output, 'pipe'], env: this.#environment });
  }

  /** Runs a command to its end; `input` is all of its stdin. */
  async run(args: readonly string[], input: string | Uint8Array = ''): Promise<Ran> {
    const child = this.spawn(args);
    // One that ends early has not read its input.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
    const ran = await collect(child);
    return { ...ran, stderr: this.said(ran.stderr) };
  }

  /** Its stderr without what an old one says of its own haste. Output is not touched: a message with a byte in it would be missed there. */
  said(stderr: string): string {
    return this.leg.speaks === 'WebSocket' && this.minor < FIRST_READY ? stderr.replace(TOO_EARLY, '') : stderr;
  }

  atTerminal(args: readonly string[]): Terminal {
    return new Terminal([this.leg.age.path, ...args], this.#environment);
  }

  get #environment(): NodeJS.ProcessEnv {
    const { HTTP_PROXY: _1, HTTPS_PROXY: _2, http_proxy: _3, https_proxy: _4, ...environment } = process.env;
    const sockets = String(this.leg.speaks === 'WebSocket');
    return {
      ...environment,
      HOME: this.#folder,
      KUBECONFIG: this.#kubeconfig,
      KUBECTL_REMOTE_COMMAND_WEBSOCKETS: sockets,
      KUBECTL_PORT_FORWARD_WEBSOCKETS: sockets,
    };
  }
}
