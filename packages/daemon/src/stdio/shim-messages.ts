/** The longer messages of a shim, from bytes (shim/PROTOCOL.md). */
import { PROTOCOL_VERSION, ShimProtocolError } from './shim-frames.ts';
import type { ExitRecord, StdinState, Welcome } from './shim.ts';
import type { PipeOffer } from './stdin-pipe.ts';

/** By number of the shim. */
export const STDIN_STATES: readonly StdinState[] = ['none', 'open', 'closed'];
const EXIT_KINDS: readonly ExitRecord['kind'][] = ['exited', 'signaled', 'unknown'];
/** Of the first shims; later ones say more at its end. */
const WELCOME_BYTES = 60;

/** @throws ShimProtocolError it is too short, or of another version of the protocol */
export function decodeWelcome(p: Buffer): Welcome {
  if (p.length < WELCOME_BYTES) throw new ShimProtocolError(`WELCOME of ${p.length} bytes`);
  const version = p.readUInt32LE(0);
  if (version !== PROTOCOL_VERSION) throw new ShimProtocolError(`shim speaks version ${version}`);
  return {
    shimPid: p.readUInt32LE(4),
    initPid: p.readUInt32LE(8),
    state: p[12] === 2 ? 'exited' : 'running',
    tty: p[13] === 1,
    stdin: STDIN_STATES[p[14] ?? 0] ?? 'none',
    hasLog: p[15] === 1,
    first: p.readBigUInt64LE(16),
    next: p.readBigUInt64LE(24),
    startedAtNs: p.readBigUInt64LE(32),
    logBytesLost: p.readBigUInt64LE(40),
    logLosses: p.readBigUInt64LE(48),
    stdinCredit: p.readUInt32LE(56),
  };
}

/** The pipe that a WELCOME offers. Shims that were started before this was offered end their WELCOME earlier. */
export function pipeOffer(welcome: Buffer): PipeOffer | undefined {
  if (welcome.length < WELCOME_BYTES + 12) return undefined;
  const inode = welcome.readBigUInt64LE(64);
  return inode === 0n ? undefined : { pid: welcome.readUInt32LE(4), descriptor: welcome.readUInt32LE(60), inode };
}

/** @throws ShimProtocolError it has another length */
export function decodeExit(p: Buffer): ExitRecord {
  need(p, 32);
  return {
    kind: EXIT_KINDS[p[0] ?? 2] ?? 'unknown',
    code: p[1] ?? 255,
    signal: p[2] ?? 0,
    oom: p[3] === 1,
    drained: p[4] === 1,
    offset: p.readBigUInt64LE(8),
    startedAtNs: p.readBigUInt64LE(16),
    finishedAtNs: p.readBigUInt64LE(24),
    reason: '',
  };
}

/** @throws ShimProtocolError the message has another length */
export function need(payload: Buffer, bytes: number): void {
  if (payload.length !== bytes) throw new ShimProtocolError(`frame of ${payload.length} bytes instead of ${bytes}`);
}
