/** Bounded waiting on things that cannot be cancelled themselves. */
import { Deadline } from './deadline.ts';

/**
 * Waits for `promise` for at most `ms`. Gives true when it has settled (either way), false when the time was over first, and what came
 * over sockets by then has been read.
 * Rejects with the signal's reason when that is aborted. The promise itself goes on; nothing is left behind.
 */
export async function settledWithin(promise: Promise<unknown>, ms: number, signal?: AbortSignal): Promise<boolean> {
  signal?.throwIfAborted();
  const { promise: outcome, resolve, reject } = Promise.withResolvers<boolean>();
  const deadline = new Deadline(ms, () => resolve(false));
  const aborted = (): void => reject(signal?.reason);
  signal?.addEventListener('abort', aborted, { once: true });
  const settled = (): void => resolve(true);
  promise.then(settled, settled);
  try {
    return await outcome;
  } finally {
    deadline.cancel();
    signal?.removeEventListener('abort', aborted);
  }
}

/** Resolves after `ms`, when what came over sockets by then has been read; rejects with the signal's reason when that is aborted before. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  await settledWithin(new Promise<never>(() => {}), ms, signal);
}

/** As `Promise.all`, but a failure (the first by place) comes once all have settled: nothing goes on behind it. */
export async function allSettled<T extends readonly unknown[]>(all: T): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  await Promise.allSettled(all);
  return await Promise.all(all);
}
