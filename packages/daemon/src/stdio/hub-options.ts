/** What a hub is told when it is made. */
import type { Logger } from 'pino';
import type { OutputStats } from './output-stats.ts';

export type HubOptions = {
  /** Path of the container's log; absent: only the ring keeps output. */
  readonly logPath: string | undefined;
  readonly liveBufferBytes: number;
  /** Size of the shim's ring: as much is kept for `from=start` of a container without a log. */
  readonly ringBytes: number;
  readonly maxLagBytes: number;
  readonly slow: 'block' | 'end';
  readonly stallMs: number;
  readonly log: Logger;
  /** Absent: nobody wants to know. */
  readonly stats?: OutputStats;
  /** How long and for how much output the hub waits once nobody is attached; set by tests only. */
  readonly linger?: { readonly ms: number; readonly bytes: number };
  /** How long a claim waits for the shim; set by tests only. */
  readonly answerMs?: number;
};
