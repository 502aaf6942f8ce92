// Channel numbers: the first byte of every message of the remotecommand protocols over WebSocket.

/**
 * What the first byte (binary protocols) or first digit (base64 protocols) of a message says.
 * Source: Kubernetes remotecommand over WebSocket; `close` since v5 (KEP-4006).
 */
export const CHANNEL = Object.freeze({
  /** Client to server. */
  stdin: 0,
  /** Server to client. */
  stdout: 1,
  /** Server to client; nothing comes here when the container has a terminal. */
  stderr: 2,
  /** Server to client: the status that ends a session. */
  status: 3,
  /** Client to server: terminal sizes as JSON. */
  resize: 4,
  /** Client to server, v5 only: `[255, channel]` says that nothing more comes on that channel. */
  close: 255,
} as const);

/** The highest channel that carries data; `[255, n]` with a larger n is malformed. */
export const LAST_DATA_CHANNEL = CHANNEL.resize;
