/** `berth.v1.Images/Import`: an archive that comes in pieces over gRPC goes into the store. */
import type { ImportRequest } from '@berth/cri-api/berth';
import { BerthError } from '../util/errors.ts';
import type { ImageStore } from './image.ts';

/** Larger pieces gain nothing and make a client that is slow hold more memory here. */
export const MAX_IMPORT_CHUNK_BYTES = 1024 * 1024;

const wrongOrder = (): BerthError =>
  new BerthError('invalid-argument', 'IMAGE_IMPORT_ORDER', 'an import begins with one start message and goes on with chunks');

async function* chunks(requests: AsyncIterator<ImportRequest>): AsyncGenerator<Uint8Array> {
  try {
    for (let next = await requests.next(); !next.done; next = await requests.next()) {
      const { part } = next.value;
      if (part.case !== 'chunk') throw wrongOrder();
      if (part.value.length > MAX_IMPORT_CHUNK_BYTES) {
        throw new BerthError('invalid-argument', 'IMAGE_IMPORT_CHUNK', `a chunk has more than ${MAX_IMPORT_CHUNK_BYTES} bytes`);
      }
      yield part.value;
    }
  } finally {
    await requests.return?.();
  }
}

/** Imports what `requests` bring; gives the fields of an ImportResponse. On abort nothing is kept. */
export async function importImage(
  requests: AsyncIterable<ImportRequest>,
  store: ImageStore,
  signal?: AbortSignal,
): Promise<{ id: string; names: string[]; size: bigint }> {
  const iterator = requests[Symbol.asyncIterator]();
  const first = await iterator.next();
  if (first.done || first.value.part.case !== 'start') throw wrongOrder();
  const image = await store.import(chunks(iterator), first.value.part.value.names, signal);
  return { id: image.id, names: [...image.names], size: BigInt(image.size) };
}
