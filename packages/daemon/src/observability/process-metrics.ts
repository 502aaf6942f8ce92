/** What the process itself costs: memory, descriptors, processor time, and how late its event loop is. */
import { readdir, readFile } from 'node:fs/promises';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { counter, type Family, gauge, type Sample } from './metric.ts';

/** How often lateness is measured: fine enough for what a client would notice, and 50 wake-ups a second cost nothing that can be measured. */
const RESOLUTION_MS = 20;
/** Two scrapers share one measurement; what is younger than this is shown to both. */
const MIN_WINDOW_MS = 1_000;
const NS_PER_S = 1e9;
const US_PER_S = 1e6;
const MS_PER_S = 1_000;

/** Measures while it is open; only a daemon that shows metrics opens one. */
export class ProcessMetrics implements Disposable {
  readonly #delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  #lag: readonly Sample[] = [];
  #measuredAt = Number.NEGATIVE_INFINITY;

  constructor() {
    this.#delay.enable();
  }

  [Symbol.dispose](): void {
    this.#delay.disable();
  }

  async collect(): Promise<Family[]> {
    const memory = process.memoryUsage();
    const cpu = process.cpuUsage();
    const loop = performance.eventLoopUtilization();
    const startedAt = performance.timeOrigin / MS_PER_S;
    return [
      gauge('berth_event_loop_lag_seconds', 'How late the event loop was since the scrape before.', this.#lagNow()),
      counter('berth_event_loop_active_seconds_total', 'Time in which the event loop worked.', loop.active / MS_PER_S),
      counter('berth_event_loop_idle_seconds_total', 'Time in which the event loop waited.', loop.idle / MS_PER_S),
      counter(
        'process_cpu_seconds_total',
        'Processor time of the daemon, its threads included.',
        (cpu.user + cpu.system) / US_PER_S,
      ),
      gauge('process_resident_memory_bytes', 'Memory of the daemon that is in RAM.', memory.rss),
      gauge('process_start_time_seconds', 'When the daemon started, seconds since 1970.', startedAt),
      gauge('nodejs_heap_size_used_bytes', 'JavaScript objects.', memory.heapUsed),
      gauge('nodejs_heap_size_total_bytes', 'Heap for JavaScript objects.', memory.heapTotal),
      gauge('nodejs_external_memory_bytes', 'Buffers and other memory beside the heap.', memory.external),
      ...(await descriptors()),
    ];
  }

  /** Intervals between two measurements, less what they should be. */
  #lagNow(): readonly Sample[] {
    const now = performance.now();
    if (now - this.#measuredAt < MIN_WINDOW_MS) return this.#lag;
    const seconds = (ns: number): number => Math.max(0, (Number.isFinite(ns) ? ns : 0) / NS_PER_S - RESOLUTION_MS / MS_PER_S);
    this.#lag = [
      { labels: { stat: 'p50' }, value: seconds(this.#delay.percentile(50)) },
      { labels: { stat: 'p99' }, value: seconds(this.#delay.percentile(99)) },
      { labels: { stat: 'max' }, value: seconds(this.#delay.max) },
    ];
    this.#delay.reset();
    this.#measuredAt = now;
    return this.#lag;
  }
}

async function descriptors(): Promise<Family[]> {
  const [open, limits] = await Promise.all([
    readdir('/proc/self/fd').catch(() => []),
    readFile('/proc/self/limits', 'latin1').catch(() => ''),
  ]);
  const most = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
  return [
    // One of them is the folder that has just been read.
    gauge('process_open_fds', 'Open file descriptors.', Math.max(0, open.length - 1)),
    ...(most === undefined ? [] : [gauge('process_max_fds', 'File descriptors that may be open.', Number(most))]),
  ];
}
