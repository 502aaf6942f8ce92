// Decides what becomes of an HTTP request to the streaming server; pure, and the one place that chooses HTTP statuses.

import type { IncomingHttpHeaders } from 'node:http';
import { judgeSpdyForward, judgeSpdyUpgrade } from '../transport/spdy/upgrade.ts';
import type { Accepted, AcceptedForward, JudgeForwardUpgrade, JudgeUpgrade, Refusal } from '../transport/upgrade.ts';
import { judgeWebSocketForward } from '../transport/websocket/port-forward-upgrade.ts';
import { judgeWebSocketUpgrade } from '../transport/websocket/upgrade.ts';
import type { ConnectionInfo, SessionKind } from './handler.ts';

/** A request as the server got it. */
export type StreamRequest = { readonly method: string; readonly url: string; readonly headers: IncomingHttpHeaders };

/** The request is good in itself: now its ticket may be taken and its connection upgraded. */
export type Routed = {
  readonly ok: true;
  readonly token: string;
  readonly from: ConnectionInfo['from'];
} & (
  | { readonly kind: 'attach' | 'exec'; readonly upgrade: Accepted }
  | { readonly kind: 'portforward'; readonly upgrade: AcceptedForward }
);

const PATH = /^\/(attach|exec|portforward)\/([^/]*)$/;
const METHODS = ['GET', 'POST'];
/** What the next free ticket is worth waiting for, as Kubernetes says it. */
const RETRY_AFTER_SECONDS = '60';
/** A daemon that is restarted is back within seconds. */
const RETRY_SOON_SECONDS = '5';

/** By the name in the Upgrade header, lower case. Maps, since the name is the client's: every object has a `constructor`. */
const UPGRADES: ReadonlyMap<string, JudgeUpgrade> = new Map([
  ['spdy/3.1', judgeSpdyUpgrade],
  ['websocket', judgeWebSocketUpgrade],
]);

const FORWARD_UPGRADES: ReadonlyMap<string, JudgeForwardUpgrade> = new Map([
  ['spdy/3.1', judgeSpdyForward],
  ['websocket', judgeWebSocketForward],
]);

/**
 * Judges a request in a fixed order: path, method, ticket, query, upgrade. Nothing is consumed. `known` says whether a token has a
 * ticket. Host and Origin are not looked at: proxies rewrite both, and the ticket is the secret.
 */
export function route(request: StreamRequest, known: (token: string, kind: SessionKind) => boolean): Routed | Refusal {
  const { method, headers } = request;
  const [path, query] = splitOnce(request.url, '?');
  const [, kind, token] = PATH.exec(path) ?? [];
  if (!isKind(kind) || token === undefined) return notFound();
  if (!METHODS.includes(method)) return refusal(405, `${method} is not allowed here`, { Allow: METHODS.join(', ') });
  if (!known(token, kind)) return notFound();
  const from = parseFrom(query);
  if (from === undefined) return refusal(400, 'from must be "start" or "now"');
  const protocol = hasToken(headers.connection, 'upgrade') ? (headers.upgrade?.toLowerCase() ?? '') : '';
  if (protocol !== '' && hasBody(headers)) return refusal(400, 'an upgrade must not have a body');
  if (kind === 'portforward') {
    const judged = FORWARD_UPGRADES.get(protocol)?.({ method, headers }) ?? noUpgrade(FORWARD_UPGRADES);
    return judged.ok ? { ok: true, kind, token, from, upgrade: judged } : judged;
  }
  const judged = UPGRADES.get(protocol)?.({ method, headers }) ?? noUpgrade(UPGRADES);
  return judged.ok ? { ok: true, kind, token, from, upgrade: judged } : judged;
}

function isKind(word: string | undefined): word is SessionKind {
  return word === 'attach' || word === 'exec' || word === 'portforward';
}

function noUpgrade(served: ReadonlyMap<string, unknown>): Refusal {
  return refusal(400, `the request must be an upgrade to ${[...served.keys()].join(' or ')}`);
}

/** No such path, or a ticket that is unknown, used or expired: all alike, so that nothing is learnt by asking. */
export function notFound(): Refusal {
  return refusal(404, '404 page not found');
}

/** The session caps are reached. The ticket is kept. */
export function tooManySessions(message: string): Refusal {
  return refusal(429, message, { 'Retry-After': RETRY_AFTER_SECONDS });
}

/** The daemon has a bug; its log says which. */
export function fault(): Refusal {
  return refusal(500, 'Internal error occurred');
}

/** Nobody is served just now. */
export function unavailable(message: string): Refusal {
  return refusal(503, message, { 'Retry-After': RETRY_SOON_SECONDS });
}

function parseFrom(query: string): ConnectionInfo['from'] | undefined {
  const values = new URLSearchParams(query).getAll('from');
  if (values.length === 0) return 'now';
  const [value] = values;
  return values.length === 1 && (value === 'start' || value === 'now') ? value : undefined;
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + separator.length)];
}

function hasToken(header: string | undefined, token: string): boolean {
  return header !== undefined && header.split(',').some((each) => each.trim().toLowerCase() === token);
}

/** Node hands a connection over on which a body is still coming as a stream that is no socket. No client has one to send. */
function hasBody(headers: IncomingHttpHeaders): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

function refusal(status: number, message: string, headers: Readonly<Record<string, string>> = {}): Refusal {
  return { ok: false, status, message, headers };
}
