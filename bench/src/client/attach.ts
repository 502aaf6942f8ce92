/** Attaching as the benchmark does: the RPC, then the stream. */
import type { RuntimeUnderTest } from '../runtimes/runtime.ts';
import { Session } from './session.ts';

export type AttachOptions = { readonly stdin?: boolean; readonly tty?: boolean };

/** The RPC. Standard output, and input where it is asked for; never stderr, which the agent does not use. */
export const attachUrl = async (
  { client }: RuntimeUnderTest,
  containerId: string,
  { stdin = false, tty = false }: AttachOptions,
): Promise<string> => (await client.runtime.attach({ containerId, stdin, tty, stdout: true, stderr: false })).url;

/** The RPC and the stream. */
export const attach = async (runtime: RuntimeUnderTest, containerId: string, options: AttachOptions = {}): Promise<Session> =>
  await Session.open(await attachUrl(runtime, containerId, options));

/** The RPC of a program besides init; stdout, and input where it is asked for. */
export const execUrl = async (
  { client }: RuntimeUnderTest,
  containerId: string,
  cmd: readonly string[],
  { stdin = false, tty = false }: AttachOptions,
): Promise<string> => (await client.runtime.exec({ containerId, cmd: [...cmd], stdin, tty, stdout: true, stderr: false })).url;
