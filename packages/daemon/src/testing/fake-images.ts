/** An image store without a disk, for the tests of what stands above it. */
import type { Image, ImageStore } from '../image/image.ts';
import { BerthError } from '../util/errors.ts';

const BUSYBOX: Image = {
  id: `sha256:${'b'.repeat(64)}`,
  names: ['docker.io/library/busybox:latest'],
  size: 4_200_000,
  layers: ['/fake/layer'],
  run: {
    user: '1000:1000',
    env: ['PATH=/bin'],
    entrypoint: [],
    cmd: ['sh'],
    workingDir: '/',
    volumes: [],
    stopSignal: '',
    labels: {},
  },
};

/** One image; an import adds one and keeps what it was sent. */
export class FakeImages implements ImageStore {
  readonly #images = new Map([[BUSYBOX.id, BUSYBOX]]);

  find(reference: string): Image | undefined {
    const name = `docker.io/library/${reference}${reference.includes(':') ? '' : ':latest'}`;
    return this.list().find((image) => image.id === reference || image.names.includes(name) || image.names.includes(reference));
  }

  list(): readonly Image[] {
    return [...this.#images.values()];
  }

  /** Everything that the last import was sent. */
  received = Buffer.alloc(0);
  /** An import was aborted. */
  readonly aborted = Promise.withResolvers<void>();
  /** An import has got its first bytes. */
  readonly begun = Promise.withResolvers<void>();

  async import(source: AsyncIterable<Uint8Array>, names: readonly string[], signal?: AbortSignal): Promise<Image> {
    signal?.addEventListener('abort', () => this.aborted.resolve(), { once: true });
    const pieces: Uint8Array[] = [];
    for await (const piece of source) {
      this.begun.resolve();
      pieces.push(piece);
    }
    this.received = Buffer.concat(pieces);
    const image: Image = { ...BUSYBOX, id: `sha256:${'c'.repeat(64)}`, names, size: this.received.length };
    this.#images.set(image.id, image);
    return image;
  }

  async remove(reference: string, inUse: (imageId: string) => boolean): Promise<void> {
    const image = this.find(reference);
    if (image === undefined) return;
    if (inUse(image.id)) throw new BerthError('failed-precondition', 'IMAGE_IN_USE', `image ${reference} is in use`);
    this.#images.delete(image.id);
  }

  async usage() {
    return { path: '/fake/images', bytes: 4_200_000, inodes: 400 };
  }
}
