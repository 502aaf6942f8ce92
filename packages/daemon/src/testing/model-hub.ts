/** A hub that hears a model of a shim. */
import { pino } from 'pino';
import type { HubOptions } from '../stdio/hub-options.ts';
import { OutputHub } from '../stdio/output-hub.ts';
import type { ModelShim } from './model-shim.ts';

const DEFAULTS = {
  logPath: undefined,
  liveBufferBytes: 128 * 1024,
  ringBytes: 64 * 1024,
  maxLagBytes: 1 << 30,
  slow: 'block',
  stallMs: 60_000,
  log: pino({ level: 'silent' }),
} as const;

/** @param gapSeen is told how long each gap is, before the hub is */
export function modelHub(shim: ModelShim, options: Partial<HubOptions>, gapSeen?: (bytes: number) => void): OutputHub {
  const hub = new OutputHub(shim, { ...DEFAULTS, ...options });
  shim.listen({
    output: (stream, offset, data) => hub.output(stream, offset, data),
    holds: (from, to) => hub.holds(from, to),
    gap: (from, to) => {
      gapSeen?.(to - from);
      hub.gap(from, to);
    },
    credit: () => undefined,
    stdinClosed: () => undefined,
    logLoss: () => undefined,
    exit: (record) => hub.ended(record),
    lost: (error) => hub.supervisorLost(error),
  });
  return hub;
}
