// Looks containers and pods up by what people type.
import type { Container, PodSandbox } from '@berth/cri-api';
import type { Daemon } from '../daemon.ts';
import { CliError } from '../errors.ts';
import { findNamed } from './resolve.ts';

/** The container that is meant. @throws CliError when there is none, or more than one. */
export async function findContainer({ client }: Daemon, reference: string): Promise<Container> {
  const { containers } = await client.runtime.listContainers();
  const found = findNamed('container', reference, containers);
  if (found === undefined) {
    throw new CliError(`there is no container "${reference}"; see all with: berth ps -a`);
  }
  return found;
}

/** A container, else the pod of that name. @throws CliError when there is neither, or more than one. */
export async function findContainerOrPod(
  { client }: Daemon,
  reference: string,
): Promise<{ readonly container: Container } | { readonly pod: PodSandbox }> {
  const { containers } = await client.runtime.listContainers();
  const container = findNamed('container', reference, containers);
  if (container !== undefined) return { container };
  const { items } = await client.runtime.listPodSandbox();
  const pod = findNamed('pod', reference, items);
  if (pod !== undefined) return { pod };
  throw new CliError(`there is no container or pod "${reference}"; see all with: berth ps -a, berth pods`);
}

/** What verbose ContainerStatus tells of a container's streams, beside CRI. */
export type StreamFacts = { readonly tty: boolean; readonly stdinOnce: boolean };

/** Whether a container has a terminal; without that knowledge (another runtime) it counts as having none. */
export async function streamFacts({ client }: Daemon, containerId: string): Promise<StreamFacts> {
  const { info } = await client.runtime.containerStatus({ containerId, verbose: true });
  try {
    const parsed = JSON.parse(info['info'] ?? '{}') as { tty?: unknown; stdinOnce?: unknown };
    return { tty: parsed.tty === true, stdinOnce: parsed.stdinOnce === true };
  } catch {
    return { tty: false, stdinOnce: false };
  }
}
