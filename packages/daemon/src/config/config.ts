/** The daemon's settings after defaults, file and flags have been merged; what each means stands in docs/configuration.md. */
export type Config = {
  /** Kept across reboots: images, container records, exit records. */
  readonly root: string;
  /** Gone at reboot: sockets, namespaces, mounts. At most 32 bytes long (socket paths). */
  readonly state: string;
  /** Path of the CRI socket. */
  readonly socket: string;
  readonly streaming: StreamingConfig;
  readonly stdio: StdioConfig;
  /** Where Prometheus may look; absent: nowhere. */
  readonly metrics?: MetricsConfig;
  readonly portForward: PortForwardConfig;
  readonly runtime: RuntimeConfig;
  readonly image: ImageConfig;
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error';
};

export type StreamingConfig = {
  readonly host: string;
  readonly port: number;
  /** How long a ticket lives, ms. */
  readonly ticketTtlMs: number;
  /** Unused tickets at one time. */
  readonly maxTickets: number;
  /** Sessions at one time, all containers together. */
  readonly maxSessions: number;
  /** Sessions at one time of one container. */
  readonly maxSessionsPerContainer: number;
  /** Where URLs point to instead of the address that is listened on; no slash at its end. */
  readonly advertise?: string;
  /** Absent: plain HTTP, on loopback only. */
  readonly tls?: TlsFiles;
  /** TCP connections at one time, sessions among them. */
  readonly maxConnections: number;
  /** Those of them that are no session (yet). */
  readonly maxWaitingConnections: number;
  /** From a connection's start to the end of its request's headers, the TLS handshake apart, ms. */
  readonly headerTimeoutMs: number;
  /** Request line and headers together, bytes. */
  readonly maxHeaderBytes: number;
  /** A session over which no data has moved for this long is ended, ms; 0: never. */
  readonly idleTimeoutMs: number;
  /** How long sessions may go on when the daemon is told to stop, ms. */
  readonly drainMs: number;
};

/** Absolute paths of PEM files. */
export type TlsFiles = {
  /** The server's certificate, and those between it and its root. */
  readonly cert: string;
  readonly key: string;
  /** Clients must show a certificate that one of these has signed; absent: clients need none. */
  readonly clientCa?: string;
};

/** A loopback address. */
export type MetricsConfig = { readonly host: string; readonly port: number };

export type StdioConfig = {
  /** Replay ring of a shim, bytes. */
  readonly ringBytes: number;
  /** Live buffer of an attached container, bytes. */
  readonly liveBufferBytes: number;
  /** How far a session may lag behind in the log, bytes. */
  readonly maxLagBytes: number;
  /** What a slow client of a container without a log leads to, and whether a slow client is ended at once. */
  readonly slow: 'block' | 'end';
  /** How long a client that takes nothing is waited for where it holds the container back, ms. */
  readonly stallMs: number;
  /** Report `NonZeroExitCode` on attach to stock clients. Confuses `kubectl run` and `kubectl debug`. */
  readonly exitCodeStatus: boolean;
};

export type PortForwardConfig = {
  /** Forwarded connections at one time, all sessions together. */
  readonly maxConnections: number;
  /** Forwarded connections at one time of one session. */
  readonly maxConnectionsPerSession: number;
  /** How long connecting to a port may take, ms. */
  readonly dialTimeoutMs: number;
};

export type RuntimeConfig = {
  /** Absolute path of lxc-start. */
  readonly lxcStart: string;
  /** Absolute path of the berth-shim binary. */
  readonly shim: string;
  /** Cgroup parent of pods that name none. */
  readonly cgroupParent: string;
};

export type ImageConfig = {
  /** Archive that is imported at the start when its image is not there yet; empty: none. */
  readonly defaultArchive: string;
};
