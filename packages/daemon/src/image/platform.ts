/** The platform that images must be for, in OCI's words. */
import { BerthError } from '../util/errors.ts';

/** Go's names of architectures, as OCI uses them, for Node's. */
const ARCHITECTURES: Readonly<Record<string, string>> = {
  x64: 'amd64',
  arm64: 'arm64',
  arm: 'arm',
  ia32: '386',
  ppc64: 'ppc64le',
  s390x: 's390x',
  riscv64: 'riscv64',
  loong64: 'loong64',
};

export type Platform = { readonly os: string; readonly architecture: string };

export const HOST_PLATFORM: Platform = { os: 'linux', architecture: ARCHITECTURES[process.arch] ?? process.arch };

/** Throws `IMAGE_WRONG_PLATFORM`, naming both; what an image leaves out is taken as fitting. */
export function requirePlatform(image: Partial<Platform>, host: Platform): void {
  const os = image.os || host.os;
  const architecture = image.architecture || host.architecture;
  if (os === host.os && architecture === host.architecture) return;
  throw new BerthError(
    'failed-precondition',
    'IMAGE_WRONG_PLATFORM',
    `the image is for ${os}/${architecture}, and this machine runs ${host.os}/${host.architecture}`,
  );
}
