// Turns a service's descriptor into an object with one promise-returning function per unary method.
import {
  create,
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type Message,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { type CallOptions as GrpcCallOptions, type Client as GrpcClient, Metadata, type ServiceError } from '@grpc/grpc-js';
import { clientClosed, RpcError, toRpcError } from './rpc-error.ts';

/** What every call takes beside its request. */
export type CallOptions = {
  /** Gives the call up; what the daemon has done by then stays done. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds until the call fails with DEADLINE_EXCEEDED. */
  readonly timeoutMs?: number | undefined;
};

/** Two minutes, as kubelet waits for its runtime by default. */
export const DEFAULT_TIMEOUT_MS = 120_000;

/** Where calls go, and the signal that ends them all. */
export type Channel = { readonly grpc: GrpcClient; readonly closed: AbortSignal };

/** The unary methods of a service as promises. */
export type ServiceClient<S extends { readonly method: object }> = {
  readonly [K in keyof S['method'] as S['method'][K] extends { methodKind: 'unary' } ? K : never]: S['method'][K] extends {
    input: infer I extends DescMessage;
    output: infer O extends DescMessage;
  }
    ? (request?: MessageInitShape<I>, options?: CallOptions) => Promise<MessageShape<O>>
    : never;
};

/** Builds the client of one service over a channel. */
export function serviceClient<S extends DescService>(channel: Channel, service: S): ServiceClient<S> {
  const calls: Record<string, unknown> = {};
  for (const method of service.methods) {
    if (method.methodKind !== 'unary') continue;
    calls[method.localName] = async (request: MessageInitShape<DescMessage> = {}, options: CallOptions = {}): Promise<Message> =>
      await unary(channel, method, request, options);
  }
  return calls as ServiceClient<S>;
}

/** `/runtime.v1.RuntimeService/Version` */
export const wirePath = (method: DescMethod): string => `/${method.parent.typeName}/${method.name}`;

export const serializer =
  (schema: DescMessage) =>
  (message: Message): Buffer => {
    const bytes = toBinary(schema, message);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };

export const deserializer =
  (schema: DescMessage) =>
  (bytes: Buffer): Message =>
    fromBinary(schema, bytes);

export const grpcOptions = ({ timeoutMs = DEFAULT_TIMEOUT_MS }: CallOptions): GrpcCallOptions => ({
  deadline: Date.now() + timeoutMs,
});

/** Settles a call: `begin` starts it and hands the callback on; the signal cancels it, and so does closing. */
export async function settle(
  closed: AbortSignal,
  path: string,
  signal: AbortSignal | undefined,
  begin: (done: (error: ServiceError | null, value?: Message) => void) => { cancel(): void },
): Promise<Message> {
  signal?.throwIfAborted();
  if (closed.aborted) throw clientClosed(path);
  const { promise, resolve, reject } = Promise.withResolvers<Message>();
  const call = begin((error, value) => {
    if (error !== null) reject(toRpcError(path, error));
    else if (value === undefined)
      reject(new RpcError({ status: 'INTERNAL', code: undefined, method: path, message: 'empty answer' }));
    else resolve(value);
  });
  const giveUp = (reason: Error): void => {
    reject(reason);
    call.cancel();
  };
  const abort = (): void => giveUp(signal?.reason instanceof Error ? signal.reason : new DOMException('aborted', 'AbortError'));
  const close = (): void => giveUp(clientClosed(path));
  signal?.addEventListener('abort', abort, { once: true });
  closed.addEventListener('abort', close, { once: true });
  try {
    return await promise;
  } finally {
    signal?.removeEventListener('abort', abort);
    closed.removeEventListener('abort', close);
  }
}

async function unary(
  { grpc, closed }: Channel,
  method: DescMethod,
  request: MessageInitShape<DescMessage>,
  options: CallOptions,
): Promise<Message> {
  const path = wirePath(method);
  return await settle(closed, path, options.signal, (done) =>
    grpc.makeUnaryRequest(
      path,
      serializer(method.input),
      deserializer(method.output),
      create(method.input, request),
      new Metadata(),
      grpcOptions(options),
      done,
    ),
  );
}
