/** An attach or exec session over SPDY/3.1 by a client within the test: cheap enough for thousands. */
import { decodeStatus, SUBPROTOCOLS, successStatus, type WireStatus } from '@berth/attach-protocol';
import { SpdyConnection, type StreamEnd } from './api-server/spdy-connection.ts';

export type SpdyOutcome = {
  readonly stdout: string;
  readonly stderr: string;
  readonly status: WireStatus;
  /** How error, stdout and stderr ended; `fin` for each where all is well. */
  readonly ends: readonly StreamEnd[];
};

/** Opens a URL for stdout and stderr, and stdin where there is input, and stays to the end. */
export async function spdySession(url: string, { stdin = false } = {}): Promise<SpdyOutcome> {
  const connection = await SpdyConnection.open(new URL(url));
  try {
    const error = await connection.stream({ streamtype: 'error' });
    if (stdin) await connection.stream({ streamtype: 'stdin' });
    const stdout = await connection.stream({ streamtype: 'stdout' });
    const stderr = await connection.stream({ streamtype: 'stderr' });
    const [said, out, err] = await Promise.all([error.read(), stdout.read(), stderr.read()]);
    // v4 says failures as JSON and success by nothing.
    const status = said.length === 0 ? successStatus() : decodeStatus(SUBPROTOCOLS['v4.channel.k8s.io'], said);
    if (status === undefined) throw new Error(`no status: ${said.toString()}`);
    const ends = await Promise.all([error.ended, stdout.ended, stderr.ended]);
    return { stdout: out.toString('latin1'), stderr: err.toString('latin1'), status, ends };
  } finally {
    connection.destroy();
  }
}
