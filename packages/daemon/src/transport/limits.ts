// Limits and waiting times that hold for every transport, whatever its frames are.

/**
 * Payload of one frame or message that we send. Chunks from the container's shim are at most this long, so that they leave as they came;
 * more would only let a client's small read wait for more.
 */
export const MAX_SENT_PAYLOAD_BYTES = 64 * 1024;

/**
 * Input that may wait here while the session takes none, before the socket is not read any more. Enough for a paste or some seconds of
 * pings between two reads of a slow container, little enough for a thousand sessions (`entryCost` counts in).
 */
export const MAX_PENDING_INPUT_BYTES = 256 * 1024;

/** What one waiting piece of input, or of output, costs beyond its bytes (object, view, list slot): single bytes are bounded as well. */
export const PENDING_ENTRY_COST_BYTES = 256;

/** How long input of a client that is gone waits for a container that reads none of it; the time that stdin EOF gives as well. */
export const LOST_CLIENT_INPUT_MS = 30_000;

/**
 * How long a client that has been sent everything may take no byte before the connection is given up. Longer than a client
 * that is stopped for a minute and continued, as every byte is promised to that one.
 */
export const LINGER_NO_PROGRESS_MS = 120_000;

/** How often progress is looked at while lingering; most clients close within milliseconds, long before the first look. */
export const LINGER_POLL_MS = 5_000;

/** How often a client is looked at that is to close by itself: one that has read everything and does not gets our FIN at the second look. */
export const PEER_END_POLL_MS = 1_000;

/**
 * How long one that has never answered anything may say nothing before it gets our FIN. Go's clients ping every 5 s as long as they run;
 * others answer the last ping when they have read what is in front of it, and this is what that may take.
 */
export const PEER_SILENT_MS = 30_000;

/**
 * How long a client that says something but does not close is left to read what proxies on the way hold: at 20 KB/s some 18 MB, more than
 * the buffers of two proxies.
 */
export const PEER_END_MS = 15 * 60_000;
