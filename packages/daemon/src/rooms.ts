/** The rooms of the real daemon: LXC underneath, images on disk, attach over HTTP. */
import type { Logger } from 'pino';
import type { Config } from './config/config.ts';
import type { AttachTarget } from './container/attach-target.ts';
import type { FindForwardTarget, Rooms, StreamingRoom } from './daemon.ts';
import { ensureDefaultImage } from './image/default-image.ts';
import { openImageStore } from './image/image-store.ts';
import { checkStart, prepareHost, releaseHost } from './lcr/host.ts';
import { createLcrRuntime } from './lcr/lcr-runtime.ts';
import { connectExec, connectShim } from './stdio/shim-client.ts';
import { AttachService } from './streaming/attach-service.ts';
import { PortForwardService } from './streaming/port-forward-service.ts';
import { ExecService, type RunProgram } from './streaming/exec-service.ts';
import { LiveSessions } from './streaming/live-sessions.ts';
import { createStreamingServer } from './streaming/server.ts';

/** What sessions get for their last bytes where the daemon was told a second time to stop: enough for whoever reads. */
const AT_ONCE_MS = 500;

export const hostRooms: Rooms = {
  checkStart,
  prepareHost,
  releaseHost: async (config) => void (await releaseHost(config)),
  openRuntime: async (config, log) => createLcrRuntime(config, log),
  openImages: async ({ root, image }, log) => {
    const store = await openImageStore(root, log);
    if (image.defaultArchive !== '') await ensureDefaultImage(store, image.defaultArchive);
    return store;
  },
  connectShim,
  connectExec,
  openStreaming,
};

async function openStreaming(
  config: Config,
  find: (id: string) => AttachTarget | undefined,
  runProgram: RunProgram,
  findPod: FindForwardTarget,
  log: Logger,
): Promise<StreamingRoom> {
  const execs = new ExecService(runProgram, config.stdio, log);
  const service = new AttachService(find, config.stdio, log);
  const live = new LiveSessions({
    log,
    names: (ticket) => (ticket.method === 'portforward' ? ticket.names : find(ticket.containerId)?.names) ?? {},
  });
  const forwards = new PortForwardService(findPod, config.portForward, log);
  const server = await createStreamingServer(
    config.streaming,
    {
      attach: async (ticket, transport, info) => await service.attach(ticket, transport, info),
      portForward: async (ticket, transport, info) => await forwards.portForward(ticket, transport, info),
      exec: async (ticket, transport, info) => await execs.exec(ticket, transport, info),
      drop: (ticket) => {
        if (ticket.method === 'attach') service.drop(ticket);
      },
    },
    log,
    undefined,
    live,
  );
  let lastBytesMs: number | undefined;
  return {
    baseUrl: server.base,
    sessions: live,
    metrics: () => [...live.metrics(server.tickets), ...service.stats.families()],
    issue: async (target, streams) => server.issue(await service.prepare(target, streams)),
    issuePortForward: (pod, ports) => {
      const { name = '', namespace = '' } = pod.meta.spec.config.metadata ?? {};
      return server.issue({ method: 'portforward', podId: pod.id, names: { podName: name, podNamespace: namespace }, ports });
    },
    issueExec: (containerId, streams, command) => server.issue({ method: 'exec', containerId, ...streams, command }),
    logReopened: async (container) => {
      const shim = container.shim();
      if (shim !== undefined) await service.logReopened(shim);
    },
    drain: async (atOnce) => {
      await server.drain(config.streaming.drainMs, atOnce);
      if (atOnce.aborted) lastBytesMs = AT_ONCE_MS;
    },
    close: async () => {
      service.close();
      forwards.close();
      execs.close();
      await server.close(lastBytesMs);
    },
  };
}
