/** A program's whole output in memory, up to a limit: for ExecSync. What is beyond it is read and thrown away, so that the program ends. */
import { type ExitRecord, type Shim, ShimLost } from './shim.ts';

/** Output on its way from the shim. */
const WINDOW_BYTES = 1024 * 1024;

export type Collected = {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  /** Bytes that did not fit. */
  readonly dropped: number;
  readonly exit: ExitRecord;
};

/**
 * Collects until the program has ended and its output is complete.
 * @param limit bytes of both streams together
 * @throws ShimLost when the supervisor goes without an exit, or after `shim.close()`
 */
export function collectOutput(shim: Shim, limit: number): Promise<Collected> {
  const { promise, resolve, reject } = Promise.withResolvers<Collected>();
  const pieces = { 1: [] as Buffer[], 2: [] as Buffer[] };
  let room = limit;
  let dropped = 0;
  let acked = 0;
  const ignore = (): void => undefined;
  shim.io.listen({
    output: (stream, offset, data) => {
      const kept = data.subarray(0, room);
      if (kept.length > 0) pieces[stream].push(kept);
      room -= kept.length;
      dropped += data.length - kept.length;
      const taken = offset + data.length;
      if (taken - acked < WINDOW_BYTES / 4) return;
      acked = taken;
      shim.io.ack(taken);
    },
    gap: (from, to) => reject(new ShimLost(`output from ${from} to ${to} is lost`)),
    credit: ignore,
    stdinClosed: ignore,
    logLoss: ignore,
    exit: (exit) => resolve({ stdout: Buffer.concat(pieces[1]), stderr: Buffer.concat(pieces[2]), dropped, exit }),
    lost: reject,
  });
  shim.io.subscribe(0, WINDOW_BYTES);
  return promise;
}
