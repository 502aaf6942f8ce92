/** The ImageService: ListImages, ImageStatus, RemoveImage, ImageFsInfo, PullImage of what is there. */
import { ImageSchema, type Image as CriImage, type ImageService, type ImageSpec } from '@berth/cri-api';
import { create } from '@bufbuild/protobuf';
import type { Image } from '../image/image.ts';
import { BerthError } from '../util/errors.ts';
import type { Handlers } from './call.ts';
import type { CriDeps } from './deps.ts';

export const images = (deps: CriDeps): Handlers<typeof ImageService> => ({
  listImages: async ({ filter }) => {
    const wanted = filter?.image?.image ?? '';
    if (wanted === '') return { images: deps.images.list().map(criImage) };
    const found = deps.images.find(wanted);
    return { images: found === undefined ? [] : [criImage(found)] };
  },

  // CRI: an image that is not there is no error, the field stays empty.
  imageStatus: async ({ image: spec, verbose }) => {
    const found = deps.images.find(required(spec));
    if (found === undefined) return {};
    return {
      image: criImage(found),
      info: verbose ? { info: JSON.stringify({ imageSpec: { config: found.run }, layers: found.layers }) } : {},
    };
  },

  pullImage: async ({ image: spec }) => {
    const reference = required(spec);
    const found = deps.images.find(reference);
    if (found !== undefined) return { imageRef: found.id };
    throw new BerthError(
      'unimplemented',
      'PULL_NOT_BUILT',
      `the image "${reference}" is not there and pulling is not built yet; import it with: berth image import FILE --name ${reference}`,
    );
  },

  removeImage: async ({ image: spec }) => {
    await deps.images.remove(required(spec), (id) => deps.containers.store.usesImage(id));
    return {};
  },

  imageFsInfo: async () => {
    const { path, bytes, inodes } = await deps.images.usage();
    const usage = {
      timestamp: deps.now(),
      fsId: { mountpoint: path },
      usedBytes: { value: BigInt(bytes) },
      inodesUsed: { value: BigInt(inodes) },
    };
    return { imageFilesystems: [usage], containerFilesystems: [usage] };
  },
});

function required(spec: ImageSpec | undefined): string {
  const reference = spec?.image ?? '';
  if (reference === '') throw new BerthError('invalid-argument', 'IMAGE_MISSING', 'missing required image');
  return reference;
}

function criImage(image: Image): CriImage {
  const user = image.run.user.split(':', 1)[0] ?? '';
  const numeric = /^\d+$/.test(user);
  return create(ImageSchema, {
    id: image.id,
    repoTags: [...image.names],
    size: BigInt(image.size),
    ...(numeric ? { uid: { value: BigInt(user) } } : { username: user }),
    spec: { image: image.id },
  });
}
