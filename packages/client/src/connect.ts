// The client of a daemon: CRI, image and session calls over one channel on a unix socket.
import { type ImportResponse, Sessions } from '@berth/cri-api/berth';
import { ImageService, RuntimeService } from '@berth/cri-api';
import { Client as GrpcClient, credentials } from '@grpc/grpc-js';
import { importImage } from './image-import.ts';
import { type CallOptions, type ServiceClient, serviceClient } from './service-client.ts';

/** Where the daemon listens unless told otherwise. */
export const DEFAULT_SOCKET = '/run/berth/berth.sock';
/** The limit of kubelet and of the daemon for one message. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

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
  /** Ends the connection; calls under way fail. */
  close(): void;
};

/** Connects to the daemon behind this unix socket. */
export function connect({ socket = DEFAULT_SOCKET }: { socket?: string } = {}): BerthClient {
  const channel = new GrpcClient(`unix:${socket}`, credentials.createInsecure(), {
    // A path is no host name; without this, servers see one that is percent-encoded and some refuse it.
    'grpc.default_authority': 'localhost',
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  });
  const close = (): void => channel.close();
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
