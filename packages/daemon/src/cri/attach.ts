/** Attach: checks the request in the order of "Attach, exactly", then asks for a URL. */
import type { AttachRequest, RuntimeService } from '@berth/cri-api';
import { type AttachTarget, attachTarget } from '../container/attach-target.ts';
import type { Container } from '../container/container.ts';
import { mustRunUnfrozen } from '../container/must-run.ts';
import { BerthError } from '../util/errors.ts';
import type { Handlers } from './call.ts';
import type { AttachStreams, CriDeps } from './deps.ts';

/** The only runtime whose containers keep their streams in a shim. */
const ATTACHABLE_RUNTIME = 'lcr';

export const attach = (deps: CriDeps): Pick<Handlers<typeof RuntimeService>, 'attach'> => ({
  attach: async (request) => {
    if (request.containerId === '') throw new BerthError('invalid-argument', 'ID_MISSING', 'missing required container_id');
    const container = deps.containers.store.get(request.containerId);
    checkRuntime(container);
    await mustRunUnfrozen(deps.runtime, container);
    const target = attachTarget(container);
    return { url: await deps.attach.issue(target, checkStreams(target, request)) };
  },
});

function checkRuntime({ id, meta: { runtime } }: Container): void {
  if (runtime === ATTACHABLE_RUNTIME) return;
  throw new BerthError(
    'unimplemented',
    'RUNTIME_NOT_ATTACHABLE',
    `container ${id} has the runtime "${runtime}"; only LCR containers can be attached`,
  );
}

/** What remains of the request once it has been checked against the container. */
function checkStreams(target: AttachTarget, request: Pick<AttachRequest, 'stdin' | 'stdout' | 'stderr' | 'tty'>): AttachStreams {
  const { stdin, stdout, tty } = request;
  if (tty && !target.tty) {
    throw new BerthError(
      'invalid-argument',
      'TTY_MISMATCH',
      `tty was asked for, but container ${target.id} has no tty: its stderr would get lost`,
    );
  }
  // With a terminal there is no stderr; kubelet asks for both when kubectl attaches without -t.
  const stderr = request.stderr && !tty;
  if (!stdin && !stdout && !stderr)
    throw new BerthError('invalid-argument', 'NO_STREAM', 'one of stdin, stdout, and stderr must be set');
  return { stdin, stdout, stderr, tty: target.tty };
}
