// Tells how much of a connection's output the peer's kernel has not acknowledged; Node knows only what the own kernel has taken.

import { recentTcpEntry } from './tcp-table.ts';

/** Bytes sent and not acknowledged on the connection with this `tcpKey`; a FIN counts as one. 0 when the connection is not known any more, or the kernel does not tell. */
export async function unsentBytes(key: string | undefined): Promise<number> {
  const entry = await recentTcpEntry(key).catch(() => undefined);
  return entry?.unsent ?? 0;
}
