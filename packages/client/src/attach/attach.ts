// Attach in one step: the CRI call and the connection to the URL that it returns.
import type { BerthClient } from '../connect.ts';
import { type AttachSession, type AttachStreamOptions, attachStream } from './attach-stream.ts';

/** `tty` must be what the container has. */
export type AttachOptions<
  In extends boolean = boolean,
  Out extends boolean = boolean,
  Err extends boolean = boolean,
> = AttachStreamOptions<In, Out, Err> & { readonly tty?: boolean };

/**
 * Attaches to a running container.
 * @throws RpcError what the daemon refuses (docs/attach.md); AttachRefused and StreamLost when connecting fails.
 */
export async function attach<In extends boolean = false, Out extends boolean = true, Err extends boolean = false>(
  client: BerthClient,
  containerId: string,
  options: AttachOptions<In, Out, Err> = {},
): Promise<AttachSession<In, Out, Err>> {
  const { stdin = false, stdout = true, stderr = false, tty = false, signal } = options;
  const { url } = await client.runtime.attach({ containerId, stdin, stdout, stderr: stderr && !tty, tty }, { signal });
  return await attachStream(url, options);
}
