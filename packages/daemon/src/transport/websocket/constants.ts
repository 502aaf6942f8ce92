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
  internalError: 1011,
} as const);

/**
 * What a client may send in one frame and in one message, by the encoding of its subprotocol. Binary: the limit of Kubernetes' own server,
 * which clients were written against. Base64 is kept whole and decoded at once, while every other session waits: so many bytes take some
 * milliseconds, and clients send what they read from a terminal or a file.
 */
export const MAX_MESSAGE_BYTES = Object.freeze({ binary: 32 * 1024 * 1024, base64: 2 * 1024 * 1024 } as const);

/** Section 5.5. */
export const MAX_CONTROL_PAYLOAD_BYTES = 125;

/**
 * How often an unsolicited pong goes out while the socket is not read. client-go gives up 61 s after the last pong and pings every 5 s:
 * its own rhythm.
 */
export const UNREAD_PONG_INTERVAL_MS = 5_000;

/**
 * How often a silent connection has a ping, or a pong where the client is not to answer: under the 30 to 60 s after which proxies cut
 * silent connections, and often enough for a vanished peer to be found within a minute.
 */
export const PING_INTERVAL_MS = 15_000;
