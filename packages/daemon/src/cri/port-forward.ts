/** PortForward: checks the request, then asks for a URL. */
import type { RuntimeService } from '@berth/cri-api';
import { BerthError } from '../util/errors.ts';
import type { Handlers } from './call.ts';
import type { CriDeps } from './deps.ts';

const MAX_PORT = 65_535;
/** Ports of one call: as many as the WebSocket protocol has channels for, and a hundred times what anybody names. */
const MAX_PORTS = 128;

export const portForward = (deps: CriDeps): Pick<Handlers<typeof RuntimeService>, 'portForward'> => ({
  portForward: async ({ podSandboxId, port: ports }) => {
    if (podSandboxId === '') throw new BerthError('invalid-argument', 'ID_MISSING', 'missing required pod_sandbox_id');
    const pod = deps.pods.ready(podSandboxId);
    checkPorts(ports);
    return { url: deps.attach.issuePortForward(pod, ports) };
  },
});

function checkPorts(ports: readonly number[]): void {
  const wrong = ports.find((port) => port < 1 || port > MAX_PORT);
  if (wrong !== undefined)
    throw new BerthError('invalid-argument', 'PORT_INVALID', `port ${wrong} is not between 1 and ${MAX_PORT}`);
  if (ports.length > MAX_PORTS)
    throw new BerthError('invalid-argument', 'PORT_INVALID', `${ports.length} ports were named; at most ${MAX_PORTS} can be`);
}
