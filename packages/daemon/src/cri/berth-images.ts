/** `berth.v1.Images`: import of an archive, on the same socket as CRI. */
import { Images } from '@berth/cri-api/berth';
import { importImage } from '../image/import-image.ts';
import { type BoundService, bindService } from './call.ts';
import type { CriDeps } from './deps.ts';

export const berthImages = ({ images }: Pick<CriDeps, 'images'>): BoundService =>
  bindService(Images, { import: (requests, { signal }) => importImage(requests, images, signal) }, Images.typeName, 'v1');
