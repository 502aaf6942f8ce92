/** A runtime under test, as the scenarios see it: the same for Berth and for whatever it is compared with. */
import type { BerthClient } from '@berth/client';

export type RuntimeUnderTest = AsyncDisposable & {
  /** What the columns are called. */
  readonly name: string;
  /** Name and version as CRI's Version says it. */
  readonly version: string;
  readonly client: BerthClient;
  /** Name of the image that containers are made of. */
  readonly image: string;
  /** The daemon's process. */
  readonly daemon: number;
  /** Processes of this runtime outside the containers, without the daemon: shims, monitors, first processes of pods. */
  helpers(): Promise<readonly number[]>;
};
