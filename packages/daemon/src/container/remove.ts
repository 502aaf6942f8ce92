/** RemoveContainer: kills it if need be, takes down what the runtime made, forgets it. */
import { shownAnyway } from '../util/transactional.ts';
import { settledWithin } from '../util/wait.ts';
import type { Container } from './container.ts';
import type { ContainerStore } from './store.ts';
import type { ContainerDeps } from './deps.ts';
import { removing } from './status.ts';
import { killContainer } from './stop.ts';

/** Sessions that still read an ended container's last output get this long; their open log goes on to work after it. */
const LAST_READERS_MS = 2_000;

/** Removes a container in any state. Idempotent; may be repeated when it failed half way. */
export async function removeContainer(
  deps: ContainerDeps,
  store: ContainerStore,
  container: Container,
  signal?: AbortSignal,
): Promise<void> {
  await deps.mutex.run(container.id, async () => {
    if (!store.has(container)) return;
    await killContainer(deps, container, signal);
    // A full disk does not stand in the way of what makes room: after a daemon's death the removal is repeated by whoever asked for it.
    await shownAnyway(deps.log, { container: container.id }, container.update(removing, { keep: true }));
    if (!(await settledWithin(container.released, LAST_READERS_MS))) container.shim()?.close();
    await deps.runtime.removeContainer(container.meta.spec);
    await deps.records.remove(container.id);
    store.delete(container);
    deps.log.info({ container: container.id }, 'container removed');
  });
}
