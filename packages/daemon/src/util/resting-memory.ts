/**
 * Gives memory back when the daemon has come to rest. V8 lets the heap grow to twice of what is in use and more before it looks, does not look
 * while nothing is allocated, and keeps the pages that it has emptied: a daemon would keep what a busy minute took for as long as it is quiet.
 */
import { performance } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';

/** How often it is looked at whether the daemon rests: it does when it has worked for less than this part of the time since the last look. */
const LOOK_MS = 1_000;
export const RESTING_UTILIZATION = 0.05;
/** What the heap has to have grown by since it was last given back. That takes 70 ms or so, in which everybody waits. */
export const GROWN_BYTES = 8 * 1024 * 1024;

/** What is looked at and done; replaced by tests only. */
export type RestingParts = {
  /** The part of the time since the last call, 0 to 1, in which the event loop has worked. */
  utilization(): number;
  /** What V8 has taken for its heap. */
  heapBytes(): number;
  giveBack(): void;
};

/** Looks until it is disposed of. */
export class RestingMemory implements Disposable {
  readonly #parts: RestingParts;
  readonly #timer: NodeJS.Timeout;
  #kept = 0;

  constructor(parts: RestingParts) {
    this.#parts = parts;
    this.#timer = setInterval(() => this.#look(), LOOK_MS).unref();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    if (this.#parts.utilization() > RESTING_UTILIZATION || this.#parts.heapBytes() - this.#kept < GROWN_BYTES) return;
    this.#parts.giveBack();
    this.#kept = this.#parts.heapBytes();
  }
}

/** Of this process. Undefined where Node runs without `--expose-gc`. */
export function nodeMemory(): RestingParts | undefined {
  const { gc } = globalThis;
  if (gc === undefined) return undefined;
  let last = performance.eventLoopUtilization();
  return {
    utilization: () => {
      const now = performance.eventLoopUtilization();
      const { utilization } = performance.eventLoopUtilization(now, last);
      last = now;
      return utilization;
    },
    heapBytes: () => getHeapStatistics().total_heap_size,
    // Only this kind also gives emptied pages back to the kernel.
    giveBack: () => gc({ type: 'major', execution: 'sync', flavor: 'last-resort' }),
  };
}
