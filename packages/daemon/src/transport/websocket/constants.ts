// Names and limits of the WebSocket wire (RFC 6455), shared by parser, sender and transport.

/** Section 5.2: what a frame is. */
export const OPCODE = Object.freeze({
  continuation: 0x0,
  text: 0x1,
  binary: 0x2,
  close: 0x8,
  ping: 0x9,
  pong: 0xa,
} as const);

/** Section 7.4.1: why a connection was closed. */
export const CLOSE_CODE = Object.freeze({
  /** The only one that Kubernetes clients take for a clean end. */
  normal: 1000,
  goingAway: 1001,
  protocolError: 1002,
  invalidPayload: 1007,
  policyViolation: 1008,
  tooBig: 1009,
} as const);

/** What a client may send in one frame and in one message: the limit of Kubernetes' own server, which clients were written against. */
export const MAX_MESSAGE_BYTES = 32 * 1024 * 1024;

/** Section 5.5. */
export const MAX_CONTROL_PAYLOAD_BYTES = 125;

/**
 * Payload of one message that we send. Chunks from the container's shim are at most this long, so that they leave as they came; more
 * would only let a client's small read wait for more.
 */
export const MAX_SENT_PAYLOAD_BYTES = 64 * 1024;

/**
 * Input that may wait here while the session takes none, before the socket is not read any more. Enough for a paste or some seconds of
 * pings between two reads of a slow container, little enough for a thousand sessions (`entryCost` counts in).
 */
export const MAX_PENDING_INPUT_BYTES = 256 * 1024;

/** What one waiting piece of input costs beyond its bytes (object, view, list slot): a client of one-byte messages is bounded as well. */
export const PENDING_ENTRY_COST_BYTES = 256;

/**
 * How often an unsolicited pong goes out while the socket is not read. client-go gives up 61 s after the last pong and pings every 5 s:
 * its own rhythm.
 */
export const UNREAD_PONG_INTERVAL_MS = 5_000;

/** How often we ping: under the 30 to 60 s after which proxies cut silent connections, and often enough for a vanished peer to be found within a minute. */
export const PING_INTERVAL_MS = 15_000;

/**
 * Silence after which the kernel probes the peer. This, not a missing pong, finds dead peers: a stopped client (Ctrl-Z, a sleeping pager)
 * answers no ping, but its kernel answers probes, and it must miss nothing.
 */
export const KEEPALIVE_DELAY_MS = 20_000;
/** Between probes, and how many go unanswered before the peer is gone: 50 s in all, and a network may be away for half a minute of them. */
export const KEEPALIVE_PROBE_MS = 10_000;
export const KEEPALIVE_PROBES = 3;

/**
 * How long a client that has been sent everything may take no byte before the connection is given up. Longer than a client
 * that is stopped for a minute and continued, as every byte is promised to that one.
 */
export const LINGER_NO_PROGRESS_MS = 120_000;

/** How often progress is looked at while lingering; most clients close within milliseconds, long before the first look. */
export const LINGER_POLL_MS = 5_000;

/** How long input of a client that is gone waits for a container that reads none of it; the time that stdin EOF gives as well. */
export const LOST_CLIENT_INPUT_MS = 30_000;
