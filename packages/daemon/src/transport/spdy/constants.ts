// Names and limits of the SPDY/3.1 wire (SPDY Protocol, Draft 3.1), as Kubernetes uses it: no flow control, no pushed streams.

/** The version of every control frame. SPDY/3.1 says 3 on the wire. */
export const VERSION = 3;

/** Section 2.6: control frames. Settings (4) and window updates (9) are skipped like types that nobody knows: Go peers send and heed neither. */
export const FRAME_TYPE = Object.freeze({
  synStream: 1,
  synReply: 2,
  rstStream: 3,
  ping: 6,
  goAway: 7,
  headers: 8,
} as const);

/** Flags of SYN_STREAM, SYN_REPLY, HEADERS and data frames. */
export const FLAG = Object.freeze({
  /** The sender's half of the stream ends with this frame. */
  fin: 0x01,
  /** SYN_STREAM: the receiver's half has ended from the start. */
  unidirectional: 0x02,
} as const);

/** Section 2.6.3: why a stream was reset. */
export const RST_STATUS = Object.freeze({
  protocolError: 1,
  refusedStream: 3,
  cancel: 5,
} as const);

/** Section 2.6.6: why a connection is going away. */
export const GOAWAY_STATUS = Object.freeze({
  ok: 0,
  protocolError: 1,
} as const);

/** Every frame begins with so many bytes. */
export const FRAME_HEAD_BYTES = 8;

/** Stream ids have 31 bits. */
export const STREAM_ID_BITS = 0x7fff_ffff;

/**
 * Length of one control frame that is understood; those that are skipped may be as long as the wire can say. Kubernetes' headers take
 * about a hundred bytes, compressed to less.
 */
export const MAX_CONTROL_FRAME_BYTES = 16 * 1024;

/** A header block when it is decompressed (16 KiB of it can hold 16 MiB): forty times what Kubernetes' clients send. */
export const MAX_HEADER_BLOCK_BYTES = 4 * 1024;

/**
 * The name that pairs the streams of a forwarded connection. Clients count, in decimal digits. It is a key as long as half of the pair
 * waits, and of thousands of long ones of one length V8 would compare each with each.
 */
export const MAX_REQUEST_ID_BYTES = 128;

/** Headers in one block; Kubernetes sends one to three. */
export const MAX_HEADERS = 64;

/**
 * HEADERS and SYN_REPLY frames on one connection: each costs as much as a stream and gets no answer that would bound it. Kubernetes' clients
 * send none, having nothing to say behind a stream's first headers and answering no stream of ours.
 */
export const MAX_MORE_HEADERS = 16;

/**
 * Streams that are opened between two looks at other connections. One read has room for two thousand, whose headers take a tenth of a second;
 * for so many it is a few milliseconds.
 */
export const STREAMS_PER_TURN = 64;

/**
 * Pings that came while too much was queued and that are answered later. Clients have one on its way at a time; of more than these, the
 * newest are forgotten.
 */
export const MAX_LATE_PINGS = 16;

/**
 * What replies and resets may add to the queue of a client that reads none of them. Those for the most streams that there may be
 * (port-forward: 8,192) fit; a client beyond that only makes us queue.
 */
export const MAX_QUEUED_ANSWERS_BYTES = 256 * 1024;

/** How long a client may take to open the streams it needs; the time that Kubernetes' own servers and clients give each other. */
export const STREAM_CREATION_MS = 30_000;

/** Streams at one time of an attach or exec session: it has five kinds, each once. */
export const MAX_SESSION_STREAMS = 16;

/**
 * How often an unread connection says something. Its client's pings wait unread; nothing in Go's client gives up over that, but proxies on
 * the way cut connections that are silent.
 */
export const UNREAD_SIGN_MS = 5_000;

/**
 * The ping that says so: odd, so that it looks like the late answer to a client's own ping and asks for no answer. (An even one would have
 * to be answered by a client that may be stuck writing input which we do not read: with Go's client that stops its output too.) It is the
 * last id that there is, since Go's client breaks on a second answer to a ping that it waits for; it counts from 1.
 */
export const UNREAD_SIGN_ID = 0x7fff_ffff;
