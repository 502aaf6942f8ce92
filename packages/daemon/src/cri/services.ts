/** Every service that the CRI socket serves, under all its names. */
import { ImageService, RuntimeService } from '@berth/cri-api';
import { attach } from './attach.ts';
import { berthImages } from './berth-images.ts';
import { berthSessions } from './berth-sessions.ts';
import { type BoundService, bindService, type Handlers } from './call.ts';
import { containerLifecycle } from './container-lifecycle.ts';
import { containerStatuses } from './container-status.ts';
import { containerUpdates } from './container-update.ts';
import type { CriDeps } from './deps.ts';
import { exec } from './exec.ts';
import { images } from './images.ts';
import { podLifecycle } from './pod-lifecycle.ts';
import { podStatus } from './pod-status.ts';
import { portForward } from './port-forward.ts';
import { status } from './status.ts';
import { version } from './version.ts';

/** CRI v1, v1alpha2 by the same handlers (on the wire v1 is a superset of it), and what Berth adds. */
export function services(deps: CriDeps): BoundService[] {
  const runtime: Handlers<typeof RuntimeService> = {
    ...version(deps),
    ...status(deps),
    ...podLifecycle(deps),
    ...podStatus(deps),
    ...containerLifecycle(deps),
    ...containerStatuses(deps),
    ...containerUpdates(deps),
    ...attach(deps),
    ...portForward(deps),
    ...exec(deps),
  };
  const image = images(deps);
  const cri = ['v1', 'v1alpha2'].flatMap((api) => [
    bindService(RuntimeService, runtime, `runtime.${api}.RuntimeService`, api),
    bindService(ImageService, image, `runtime.${api}.ImageService`, api),
  ]);
  return [...cri, berthImages(deps), berthSessions(deps)];
}
