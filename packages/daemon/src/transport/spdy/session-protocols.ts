// The versions of remotecommand over SPDY, by what changed in each.

/** One version as the transport needs it. */
export type SessionProtocol = {
  readonly name: string;
  /** `json`: a metav1.Status on the error stream, always. `plain`: the message alone, on failure only. */
  readonly status: 'json' | 'plain';
  /** Whether the client opens a stream for terminal sizes. */
  readonly resize: boolean;
};

/** By name. v2 mended how streams were closed, v3 brought sizes, v4 exit codes in a JSON status. v5 exists on WebSocket only. */
export const SESSION_PROTOCOLS: Readonly<Record<string, SessionProtocol>> = Object.freeze({
  'v4.channel.k8s.io': { name: 'v4.channel.k8s.io', status: 'json', resize: true },
  'v3.channel.k8s.io': { name: 'v3.channel.k8s.io', status: 'plain', resize: true },
  'v2.channel.k8s.io': { name: 'v2.channel.k8s.io', status: 'plain', resize: false },
  'channel.k8s.io': { name: 'channel.k8s.io', status: 'plain', resize: false },
});
