/** How often RPCs were called, how they ended and how long they took, by method. */
import { Counts, Histograms } from '../observability/counts.ts';
import { counter, type Family, gauge } from '../observability/metric.ts';

/** Seconds: most calls take milliseconds, starts and stops up to their grace periods, imports minutes. */
const BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120, 600];

/** One method of a service: `runtime.v1.RuntimeService`, `Attach`. Both come from the protocol's description, never from a caller. */
export type RpcName = { readonly service: string; readonly method: string };

export class RpcStats {
  #running = 0;
  readonly #ended = new Counts();
  readonly #durations = new Histograms(BOUNDS);

  began(): void {
    this.#running += 1;
  }

  /** `code`: the gRPC status by name, `OK`. */
  ended({ service, method }: RpcName, code: string, ms: number): void {
    this.#running -= 1;
    this.#ended.add({ service, method, code });
    this.#durations.observe({ service, method }, ms / 1000);
  }

  families(): Family[] {
    return [
      gauge('berth_rpcs_running', 'RPCs under way.', this.#running),
      counter('berth_rpcs_total', 'RPCs that have ended, by gRPC status.', this.#ended.samples()),
      {
        name: 'berth_rpc_duration_seconds',
        help: 'How long RPCs took.',
        type: 'histogram',
        series: this.#durations.series(),
      },
    ];
  }
}
