/** The settings of the streaming server: their defaults, and what must fit together among them. */
import * as v from 'valibot';
import { BerthError } from '../util/errors.ts';
import type { StreamingConfig, TlsFiles } from './config.ts';

const LOOPBACK_NAME = /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

/**
 * Requests on their way, and refused clients that have not closed yet. A proper client waits for milliseconds, so this is many of them;
 * with TLS each costs some tens of KiB.
 */
const MAX_WAITING_CONNECTIONS = 256;
/** A local client sends its whole request at once; one behind a bad link needs a few round trips. */
const HEADER_TIMEOUT_MS = 10_000;
/** Proxies add headers (tokens, certificates) but stay below this. */
const MAX_HEADER_BYTES = 16 * 1024;
/**
 * Long enough for what is about to end: a command that was asked for, a file on its way, the tail of a container that has exited. Sessions
 * that go on for days end in no time that a restart could wait for; their containers go on, and their clients may come back.
 */
const DRAIN_MS = 3_000;

/** `https://host[:port][/prefix]`; what comes out has no slash at its end. */
export const advertiseSchema = v.pipe(
  v.string(),
  v.check((text) => URL.canParse(text) && /^https?:\/\//.test(text), 'must be a URL like https://node.example:10350'),
  v.check((text) => !/[?#@\s]/.test(text), 'must have no user, query or fragment'),
  v.check(
    (text) => new URL(text).protocol === 'https:' || LOOPBACK_NAME.test(new URL(text).hostname),
    'must be https: over http others could read the tickets in the URLs (loopback addresses excepted)',
  ),
  v.transform((text) => new URL(text).href.replace(/\/+$/, '')),
);

/** The keys of `[streaming]`, checked one by one. */
export type StreamingSettings = {
  readonly address?: { readonly host: string; readonly port: number };
  readonly ticket_ttl_ms?: number;
  readonly max_tickets?: number;
  readonly max_sessions?: number;
  readonly max_sessions_per_container?: number;
  readonly advertise?: string;
  readonly tls_cert?: string;
  readonly tls_key?: string;
  readonly tls_client_ca?: string;
  readonly max_connections?: number;
  readonly max_waiting_connections?: number;
  readonly header_timeout_ms?: number;
  readonly max_header_bytes?: number;
  readonly idle_timeout_ms?: number;
  readonly drain_ms?: number;
};

/**
 * Puts defaults where nothing has been said.
 * @throws BerthError `CONFIG_INVALID` where settings do not fit together
 */
export function streamingWithDefaults(settings: StreamingSettings = {}): StreamingConfig {
  const { max_sessions: maxSessions = 4_096, max_waiting_connections: maxWaitingConnections = MAX_WAITING_CONNECTIONS } = settings;
  const tls = tlsFiles(settings);
  return {
    host: settings.address?.host ?? '127.0.0.1',
    port: settings.address?.port ?? 10_350,
    ticketTtlMs: settings.ticket_ttl_ms ?? 60_000,
    maxTickets: settings.max_tickets ?? 1_000,
    maxSessions,
    maxSessionsPerContainer: settings.max_sessions_per_container ?? 1_024,
    ...(settings.advertise === undefined ? {} : { advertise: settings.advertise }),
    ...(tls === undefined ? {} : { tls }),
    maxConnections: settings.max_connections ?? maxSessions + maxWaitingConnections,
    maxWaitingConnections,
    headerTimeoutMs: settings.header_timeout_ms ?? HEADER_TIMEOUT_MS,
    maxHeaderBytes: settings.max_header_bytes ?? MAX_HEADER_BYTES,
    idleTimeoutMs: settings.idle_timeout_ms ?? 0,
    drainMs: settings.drain_ms ?? DRAIN_MS,
  };
}

function tlsFiles({ tls_cert: cert, tls_key: key, tls_client_ca: clientCa }: StreamingSettings): TlsFiles | undefined {
  if (cert !== undefined && key !== undefined) return { cert, key, ...(clientCa === undefined ? {} : { clientCa }) };
  if (cert !== undefined) throw missing('tls_cert', 'tls_key');
  if (key !== undefined) throw missing('tls_key', 'tls_cert');
  if (clientCa !== undefined) throw missing('tls_client_ca', 'tls_cert and streaming.tls_key');
  return undefined;
}

const missing = (given: string, needed: string): BerthError =>
  new BerthError('invalid-argument', 'CONFIG_INVALID', `"streaming.${given}" is set, but not streaming.${needed}`);
