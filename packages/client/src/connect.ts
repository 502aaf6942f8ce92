// The client of a daemon: CRI, image and session calls over one channel on a unix socket.
import { type ImportResponse, Sessions } from '@berth/cri-api/berth';
import { ImageService, RuntimeService } from '@berth/cri-api';
import { Client as GrpcClient, credentials } from '@grpc/grpc-js';
import { importImage } from './image-import.ts';
import { type CallOptions, type Channel, type ServiceClient, serviceClient } from './service-client.ts';

/** Where the daemon listens unless told otherwise. */
export const DEFAULT_SOCKET = '/run/berth/berth.sock';
/** The limit of kubelet and of the daemon for one message. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
/**
 * After an attempt to connect that failed, calls are refused without another one for this long at first, and for this long at most, give
 * or take a fifth. gRPC's own 1 s and 2 min are for networks with many clients; a unix socket is asked for microseconds, and a daemon that
 * was restarted must not seem gone to a program that asked meanwhile.
 */
const FIRST_RECONNECT_MS = 100;
const MAX_RECONNECT_MS = 1_000;

/** A connection to a daemon. Made lazily: nothing is sent before the first call. */
export type BerthClient = AsyncDisposable & {
  /** CRI's RuntimeService. */
  readonly runtime: ServiceClient<typeof RuntimeService>;
  /** CRI's ImageService, and the import that CRI does not have. */
  readonly image: ServiceClient<typeof ImageService> & {
    import(source: AsyncIterable<Uint8Array>, names: readonly string[], options?: CallOptions): Promise<ImportResponse>;
  };
  /** The sessions of the daemon's streaming server. Berth's own. */
  readonly sessions: ServiceClient<typeof Sessions>;
  /**
   * Ends the connection: calls under way fail with CANCELLED at once, and so does every later one. What the daemon has done by then stays
   * done. Sessions have connections of their own and go on.
   */
  close(): void;
};

/** Connects to the daemon behind this unix socket. */
export function connect({ socket = DEFAULT_SOCKET }: { socket?: string } = {}): BerthClient {
  const grpc = new GrpcClient(`unix:${socket}`, credentials.createInsecure(), {
    // A path is no host name; without this, servers see one that is percent-encoded and some refuse it.
    'grpc.default_authority': 'localhost',
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
    'grpc.initial_reconnect_backoff_ms': FIRST_RECONNECT_MS,
    'grpc.max_reconnect_backoff_ms': MAX_RECONNECT_MS,
    // Else clients of one socket share its state: a new one would be refused because of what an older one has found.
    'grpc.use_local_subchannel_pool': 1,
  });
  const closing = new AbortController();
  const channel: Channel = { grpc, closed: closing.signal };
  const close = (): void => {
    closing.abort();
    grpc.close();
  };
  return {
    runtime: serviceClient(channel, RuntimeService),
    image: {
      ...serviceClient(channel, ImageService),
      import: async (source, names, options) => await importImage(channel, source, names, options),
    },
    sessions: serviceClient(channel, Sessions),
    close,
    [Symbol.asyncDispose]: async () => close(),
  };
}
