/** Any other CRI runtime that already listens on a socket. */
import { connect } from '@berth/client';
import { listenerOf, processesNamed } from './processes.ts';
import type { RuntimeUnderTest } from './runtime.ts';

export type OtherOptions = {
  readonly name: string;
  readonly socket: string;
  readonly image: string;
  /** A word that only the first processes of this runtime's pods have in their command line, when it has such. */
  readonly pause?: string;
};

/** @throws Error when nobody listens there, or the image is missing */
export const otherRuntime = async ({ name, socket, image, pause }: OtherOptions): Promise<RuntimeUnderTest> => {
  const daemon = await listenerOf(socket);
  if (daemon === undefined) throw new Error(`no process listens on ${socket}`);
  const client = connect({ socket });
  const { runtimeName, runtimeVersion } = await client.runtime.version();
  if ((await client.image.imageStatus({ image: { image } })).image === undefined) {
    client.close();
    throw new Error(`${runtimeName} has no image ${image}; import the default image of this repository first`);
  }
  return {
    name,
    version: `${runtimeName} ${runtimeVersion}`,
    client,
    image,
    daemon,
    // A shim is told where its daemon is; a pod's first process belongs to the runtime although it stands inside.
    helpers: async () =>
      await processesNamed(
        (line) => (line.includes(socket) && !line.includes(' --config ')) || (pause !== undefined && line.includes(pause)),
      ).then((pids) => pids.filter((pid) => pid !== daemon && pid !== process.pid)),
    [Symbol.asyncDispose]: async () => client.close(),
  };
};
