// Tells how much of a connection's output the peer's kernel has not acknowledged; Node knows only what the own kernel has taken.

import { readTcpTable, type TcpEntry } from './tcp-table.ts';

/** All who ask within this time share one reading: the table holds every connection of the machine. */
const SHARED_MS = 1_000;

let reading: { readonly at: number; readonly table: Promise<ReadonlyMap<string, TcpEntry>> } | undefined;

/** Bytes sent and not acknowledged on the connection with this `tcpKey`; a FIN counts as one. 0 when the connection is not known any more. */
export async function unsentBytes(key: string | undefined): Promise<number> {
  if (key === undefined) return 0;
  const now = performance.now();
  if (reading === undefined || now - reading.at > SHARED_MS) reading = { at: now, table: readTcpTable() };
  return (await reading.table).get(key)?.unsent ?? 0;
}
