/** `berth.v1.Sessions`: who holds which container's streams, and how a session is ended from outside. */
import { Sessions, type SessionSchema } from '@berth/cri-api/berth';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { SessionView } from '../streaming/live-sessions.ts';
import { remoteOf } from '../streaming/peer.ts';
import { programOf } from '../streaming/session-audit.ts';
import { type BoundService, bindService } from './call.ts';
import type { CriDeps } from './deps.ts';

const NS_PER_MS = 1_000_000n;

export const berthSessions = ({ sessions }: Pick<CriDeps, 'sessions'>): BoundService =>
  bindService(
    Sessions,
    {
      list: async () => ({ sessions: sessions.list().map(message) }),
      kill: async ({ id, by }) => ({ session: message(await sessions.kill(id, by)) }),
    },
    Sessions.typeName,
    'v1',
  );

function message(view: SessionView): MessageInitShape<typeof SessionSchema> {
  const { id, ticket, names, peer, protocol, startedAt, meter, lag } = view;
  return {
    id,
    kind: ticket.method,
    containerName: names.containerName ?? '',
    podName: names.podName ?? '',
    podNamespace: names.podNamespace ?? '',
    remote: remoteOf(peer),
    clientCertificate: peer.clientCertificate ?? '',
    protocol,
    startedAt: BigInt(startedAt) * NS_PER_MS,
    bytesIn: BigInt(meter.input),
    bytesOut: BigInt(meter.output),
    ...(lag === undefined ? {} : { lagBytes: BigInt(lag) }),
    ...(ticket.method === 'portforward'
      ? { podId: ticket.podId, ports: [...ticket.ports], connections: BigInt(meter.connections) }
      : {
          containerId: ticket.containerId,
          podId: names.podId ?? '',
          streams: (['stdin', 'stdout', 'stderr'] as const).filter((stream) => ticket[stream]),
          tty: ticket.tty,
          command: ticket.method === 'exec' ? programOf(ticket) : '',
        }),
  };
}
