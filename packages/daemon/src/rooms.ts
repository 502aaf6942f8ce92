/** The rooms of the real daemon: LXC underneath, images on disk, attach over HTTP. */
import type { Logger } from 'pino';
import type { Config } from './config/config.ts';
import type { AttachTarget } from './container/attach-target.ts';
import type { FindForwardTarget, Rooms, StreamingRoom } from './daemon.ts';
import { ensureDefaultImage } from './image/default-image.ts';
import { openImageStore } from './image/image-store.ts';
import { prepareHost, releaseHost } from './lcr/host.ts';
import { createLcrRuntime } from './lcr/lcr-runtime.ts';
import { connectShim } from './stdio/shim-client.ts';
import { AttachService } from './streaming/attach-service.ts';
import { PortForwardService } from './streaming/port-forward-service.ts';
import { createStreamingServer } from './streaming/server.ts';

export const hostRooms: Rooms = {
  prepareHost,
  releaseHost: async (config) => void (await releaseHost(config)),
  openRuntime: async (config, log) => createLcrRuntime(config, log),
  openImages: async ({ root, image }, log) => {
    const store = await openImageStore(root, log);
    if (image.defaultArchive !== '') await ensureDefaultImage(store, image.defaultArchive);
    return store;
  },
  connectShim,
  openStreaming,
};

async function openStreaming(
  config: Config,
  find: (id: string) => AttachTarget | undefined,
  log: Logger,
  findPod: FindForwardTarget,
): Promise<StreamingRoom> {
  const service = new AttachService(find, config.stdio, log);
  const forwards = new PortForwardService(findPod, config.portForward, log);
  const server = await createStreamingServer(
    config.streaming,
    {
      attach: async (ticket, transport, info) => await service.attach(ticket, transport, info),
      exec: () => Promise.reject(new Error('exec is not built yet')),
      portForward: async (ticket, transport, info) => await forwards.portForward(ticket, transport, info),
      drop: (ticket) => {
        if (ticket.method === 'attach') service.drop(ticket);
      },
    },
    log,
  );
  return {
    baseUrl: server.base,
    issue: async (target, streams) => server.issue(await service.prepare(target, streams)),
    issuePortForward: async (pod, ports) => server.issue({ method: 'portforward', podId: pod.id, ports }),
    logReopened: async (container) => {
      const shim = container.shim();
      if (shim !== undefined) await service.logReopened(shim);
    },
    close: async () => {
      service.close();
      forwards.close();
      await server.close();
    },
  };
}
