/** Totals of what becomes of containers' output on its way to sessions, and how they are shown as metrics. Plain numbers: the data path adds to them. */
import { counter, type Family, gauge } from '../observability/metric.ts';

export class OutputStats {
  /** Times that a shim could not wait for the daemon, and the output that the daemon did not get by that. */
  gaps = 0;
  gapBytes = 0;
  /** Times that a session went over to the log, and what it was given from there. */
  logFallbacks = 0;
  logBytes = 0;
  /** Output that left the live buffers because nobody who keeps up still wanted it. */
  taken = 0;
  /** Output that left them to make room for newer: who had not taken it yet reads it from the log. */
  evictedForRoom = 0;
  /** Output that left them because what followed was missing: who had not taken it yet reads it from the log. */
  evictedByGap = 0;
  /** Those whose output is being received. */
  readonly active = new Set<{ readonly bufferedBytes: number }>();

  families(): Family[] {
    let buffered = 0;
    for (const { bufferedBytes } of this.active) buffered += bufferedBytes;
    return [
      gauge('berth_attached_containers', 'Containers whose output the daemon receives.', this.active.size),
      gauge('berth_live_buffer_bytes', 'Memory of the live buffers of attached containers.', buffered),
      counter('berth_live_buffer_evicted_bytes_total', 'Output dropped from live buffers.', [
        { labels: { reason: 'taken' }, value: this.taken },
        { labels: { reason: 'room' }, value: this.evictedForRoom },
        { labels: { reason: 'gap' }, value: this.evictedByGap },
      ]),
      counter('berth_output_gaps_total', 'Times that the daemon was too late for a shim.', this.gaps),
      counter('berth_output_gap_bytes_total', 'Output that the daemon did not receive by that; logs have it.', this.gapBytes),
      counter(
        'berth_log_fallbacks_total',
        'Times that a session fell behind the live buffer and went over to the log.',
        this.logFallbacks,
      ),
      counter('berth_log_read_bytes_total', 'Output that sessions were given from logs, from=start included.', this.logBytes),
    ];
  }
}
