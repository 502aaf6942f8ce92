// Sends an image archive to the daemon: berth.v1.Images/Import, a stream of chunks.
import { once } from 'node:events';
import { create, type Message } from '@bufbuild/protobuf';
import { ImportRequestSchema, type ImportResponse, Images } from '@berth/cri-api/berth';
import { type ClientWritableStream, Metadata } from '@grpc/grpc-js';
import { type CallOptions, type Channel, deserializer, grpcOptions, serializer, settle, wirePath } from './service-client.ts';

/** The daemon takes chunks of at most 1 MiB; a quarter of it keeps both ends' copies small at the same speed. */
const MAX_CHUNK_BYTES = 256 * 1024;
/** Imports move gigabytes and unpack them: an hour unless the caller says otherwise. */
const IMPORT_TIMEOUT_MS = 3_600_000;

/**
 * Imports a rootfs tar, OCI archive or docker-archive under these names (none: the image has an id only).
 * @throws RpcError what the daemon refused; whatever `source` throws, after the call was cancelled.
 */
export async function importImage(
  { grpc, closed }: Channel,
  source: AsyncIterable<Uint8Array>,
  names: readonly string[],
  options: CallOptions = {},
): Promise<ImportResponse> {
  const method = Images.method.import;
  const path = wirePath(method);
  const stop = new AbortController();
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
  let sending: Promise<void> | undefined;
  const answer = settle(closed, path, signal, (done) => {
    const call = grpc.makeClientStreamRequest(
      path,
      serializer(method.input),
      deserializer(method.output),
      new Metadata(),
      grpcOptions({ timeoutMs: options.timeoutMs ?? IMPORT_TIMEOUT_MS }),
      (error, value) => {
        done(error, value);
        // Whatever still sends waits for a call that is over.
        stop.abort();
      },
    );
    sending = send(call, source, names, signal).catch((error: unknown) => {
      if (!signal.aborted) stop.abort(error);
    });
    return call;
  });
  const response = await answer;
  await sending;
  return response as ImportResponse;
}

async function send(
  call: ClientWritableStream<Message>,
  source: AsyncIterable<Uint8Array>,
  names: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const write = async (message: Message): Promise<void> => {
    if (!call.write(message)) await once(call, 'drain', { signal });
  };
  await write(create(ImportRequestSchema, { part: { case: 'start', value: { names: [...names] } } }));
  for await (const bytes of source) {
    for (let at = 0; at < bytes.length; at += MAX_CHUNK_BYTES) {
      signal.throwIfAborted();
      await write(create(ImportRequestSchema, { part: { case: 'chunk', value: bytes.subarray(at, at + MAX_CHUNK_BYTES) } }));
    }
  }
  call.end();
}
