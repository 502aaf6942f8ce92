/** Attaching as the benchmark does: the RPC, then the stream. */
import type { RuntimeUnderTest } from '../runtimes/runtime.ts';
import { Session } from './session.ts';

export type AttachOptions = { readonly stdin?: boolean; readonly tty?: boolean };

/** Standard output, and input where it is asked for; never stderr, which the agent does not use. */
export const attach = async (
  { client }: RuntimeUnderTest,
  containerId: string,
  { stdin = false, tty = false }: AttachOptions = {},
): Promise<Session> => {
  const { url } = await client.runtime.attach({ containerId, stdin, tty, stdout: true, stderr: false });
  return await Session.open(url);
};
