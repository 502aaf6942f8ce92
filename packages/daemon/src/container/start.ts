/** StartContainer: the intent, the runtime, the connection to the shim. */
import { BerthError, messageOf } from '../util/errors.ts';
import type { Container } from './container.ts';
import type { ContainerDeps } from './deps.ts';
import { followShim, recordLoss, shimLostExit } from './shim-connection.ts';
import { ended, startError, starting } from './status.ts';

/** The runtime has said that init runs, so its shim listens or has left a record; a loaded machine may still need a moment. */
const FIRST_CONNECT_MS = 5_000;

/**
 * Starts a created container, unless `guard` throws: asked under the container's mutex, behind a stop of its pod that came first. A failed start is final: the container shows `StartError` and the error is thrown.
 * @throws BerthError `CONTAINER_NOT_CREATED` when it has been started before.
 */
export async function startContainer(deps: ContainerDeps, container: Container, guard: () => void): Promise<void> {
  await deps.mutex.run(container.id, async () => {
    guard();
    const { state, removing } = container.status;
    if (removing) throw new BerthError('failed-precondition', 'CONTAINER_REMOVING', `container ${container.id} is being removed`);
    if (state !== 'created') {
      throw new BerthError(
        'failed-precondition',
        'CONTAINER_NOT_CREATED',
        `container ${container.id} is ${state}; only a created container can be started`,
      );
    }
    await container.update(starting);
    try {
      await deps.runtime.startContainer(container.meta.spec);
    } catch (error) {
      const message = messageOf(error);
      await container.update(ended(startError(message, deps.now())), { keep: true, durable: true });
      throw error;
    }
    if (!(await followShim(deps, container, FIRST_CONNECT_MS))) {
      await recordLoss(deps, container, shimLostExit(deps, 'the supervisor of this container did not answer after the start'));
      throw new BerthError('internal', 'SHIM_LOST', `the supervisor of container ${container.id} did not answer after the start`);
    }
    deps.log.info({ container: container.id, init: container.status.pid }, 'container has started');
  });
}
