/** The configuration file: its keys, their limits, and the defaults. Keys are snake_case, as TOML files have them; unknown ones are refused. */
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import { whyNoCgroupPath } from '../util/cgroup-path.ts';
import type { Config } from './config.ts';
import { advertiseSchema, streamingWithDefaults } from './streaming-settings.ts';

const absolutePath = v.pipe(v.string(), v.startsWith('/', 'must be an absolute path'));
const between = (least: number, most: number) => v.pipe(v.number(), v.integer(), v.minValue(least), v.maxValue(most));

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const MIB = 1024 * 1024;
/** The largest delay that a timer can count. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** `host:port`; an IPv6 address stands in brackets. */
export const addressSchema = v.pipe(
  v.string(),
  v.regex(/^(\[[0-9a-fA-F:.%a-z]+\]|[^:[\]]+):\d{1,5}$/, 'must be HOST:PORT, with an IPv6 address in brackets'),
  v.transform((text) => {
    const colon = text.lastIndexOf(':');
    return { host: text.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(text.slice(colon + 1)) };
  }),
  v.check(({ port }) => port <= 65_535, 'the port must be at most 65535'),
);

const logLevelSchema = v.picklist(['debug', 'info', 'warn', 'error']);

/** What a file or the flags may say; everything is optional. */
export const settingsSchema = v.strictObject({
  root: v.exactOptional(absolutePath),
  state: v.exactOptional(absolutePath),
  socket: v.exactOptional(absolutePath),
  log_level: v.exactOptional(logLevelSchema),
  streaming: v.exactOptional(
    v.strictObject({
      address: v.exactOptional(addressSchema),
      ticket_ttl_ms: v.exactOptional(between(1_000, HOUR_MS)),
      max_tickets: v.exactOptional(between(1, 1_000_000)),
      max_sessions: v.exactOptional(between(1, 1_000_000)),
      max_sessions_per_container: v.exactOptional(between(1, 1_000_000)),
      advertise: v.exactOptional(advertiseSchema),
      tls_cert: v.exactOptional(absolutePath),
      tls_key: v.exactOptional(absolutePath),
      tls_client_ca: v.exactOptional(absolutePath),
      max_connections: v.exactOptional(between(1, 1_000_000)),
      max_waiting_connections: v.exactOptional(between(1, 100_000)),
      header_timeout_ms: v.exactOptional(between(100, 10 * 60_000)),
      max_header_bytes: v.exactOptional(between(1024, 1024 * 1024)),
      idle_timeout_ms: v.exactOptional(between(0, 7 * DAY_MS)),
      drain_ms: v.exactOptional(between(0, HOUR_MS)),
    }),
  ),
  stdio: v.exactOptional(
    v.strictObject({
      ring_bytes: v.exactOptional(between(65_536, 64 * MIB)),
      live_buffer_bytes: v.exactOptional(between(256 * 1024, 1024 * MIB)),
      max_lag_bytes: v.exactOptional(between(MIB, Number.MAX_SAFE_INTEGER)),
      slow: v.exactOptional(v.picklist(['block', 'end'])),
      stall_ms: v.exactOptional(between(100, MAX_TIMER_MS)),
      exit_code_status: v.exactOptional(v.boolean()),
    }),
  ),
  metrics: v.exactOptional(v.strictObject({ address: v.exactOptional(addressSchema) })),
  port_forward: v.exactOptional(
    v.strictObject({
      max_connections: v.exactOptional(between(1, 1_000_000)),
      max_connections_per_session: v.exactOptional(between(1, 1_000_000)),
      dial_timeout_ms: v.exactOptional(between(100, HOUR_MS)),
    }),
  ),
  runtime: v.exactOptional(
    v.strictObject({
      lxc_start: v.exactOptional(absolutePath),
      shim: v.exactOptional(absolutePath),
      cgroup_parent: v.exactOptional(
        v.pipe(
          v.string(),
          v.check(
            (path) => whyNoCgroupPath(path) === undefined,
            ({ input }) => whyNoCgroupPath(input) ?? '',
          ),
        ),
      ),
    }),
  ),
  image: v.exactOptional(v.strictObject({ default_archive: v.exactOptional(v.union([v.literal(''), absolutePath])) })),
});

export type Settings = v.InferInput<typeof settingsSchema>;
export type CheckedSettings = v.InferOutput<typeof settingsSchema>;

/** From a source tree or its dist: beside the packages. */
const SHIM = fileURLToPath(new URL('../../../../shim/build/berth-shim', import.meta.url));

/** Puts defaults where nothing has been said. */
export function withDefaults(settings: CheckedSettings): Config {
  const { streaming, stdio, metrics, runtime, image, port_forward: forward } = settings;
  const state = settings.state ?? '/run/berth';
  return {
    root: settings.root ?? '/var/lib/berth',
    state,
    socket: settings.socket ?? `${state}/berth.sock`,
    logLevel: settings.log_level ?? 'info',
    streaming: streamingWithDefaults(streaming),
    stdio: {
      ringBytes: stdio?.ring_bytes ?? 256 * 1024,
      liveBufferBytes: stdio?.live_buffer_bytes ?? 4 * MIB,
      maxLagBytes: stdio?.max_lag_bytes ?? 1024 * MIB,
      slow: stdio?.slow ?? 'block',
      stallMs: stdio?.stall_ms ?? 10_000,
      exitCodeStatus: stdio?.exit_code_status ?? false,
    },
    ...(metrics?.address === undefined ? {} : { metrics: metrics.address }),
    portForward: {
      maxConnections: forward?.max_connections ?? 4_096,
      maxConnectionsPerSession: forward?.max_connections_per_session ?? 1_024,
      dialTimeoutMs: forward?.dial_timeout_ms ?? 10_000,
    },
    runtime: {
      lxcStart: runtime?.lxc_start ?? '/usr/bin/lxc-start',
      shim: runtime?.shim ?? SHIM,
      cgroupParent: runtime?.cgroup_parent ?? 'berth',
    },
    image: { defaultArchive: image?.default_archive ?? '' },
  };
}
