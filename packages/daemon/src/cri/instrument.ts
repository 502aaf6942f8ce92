/** The one place that sees every RPC: its name, how long it took, how it ended. */
import { type StatusObject, status } from '@grpc/grpc-js';
import { BerthError } from '../util/errors.ts';
import type { Log } from '../util/log.ts';
import { explained, toStatus } from './errors.ts';
import type { RpcName, RpcStats } from './rpc-stats.ts';

/** Asked so often (kubelet: every second) that a line each would bury the rest. */
const QUIET = /^(?:List|Version$|Status$|RuntimeConfig$|ImageStatus$|ImageFsInfo$|ContainerStatus$|PodSandboxStatus$)/;

/** Where calls are written down. */
export type Instruments = { readonly log: Log; readonly stats: RpcStats };

export type Outcome<T> = { readonly value: T } | { readonly failure: StatusObject };

/** Runs one RPC; never rejects. */
export async function instrument<T>(name: RpcName, { log, stats }: Instruments, run: () => Promise<T>): Promise<Outcome<T>> {
  const { method } = name;
  const began = performance.now();
  stats.began();
  const ms = (): number => Math.round((performance.now() - began) * 10) / 10;
  try {
    const value = await run();
    stats.ended(name, status[status.OK], performance.now() - began);
    const fields = { rpc: method, ms: ms() };
    if (QUIET.test(method)) log.debug(fields, 'rpc');
    else log.info(fields, 'rpc');
    return { value };
  } catch (met) {
    const error = explained(met);
    const failure = toStatus(error);
    stats.ended(name, status[failure.code] ?? 'UNKNOWN', performance.now() - began);
    const fields = { rpc: method, ms: ms(), code: status[failure.code], error: failure.details };
    if (!(error instanceof BerthError)) log.error({ ...fields, err: error }, 'rpc failed unexpectedly');
    else if (failure.code === status.INTERNAL) log.error({ ...fields, err: error }, 'rpc failed');
    else if (QUIET.test(method) || failure.code === status.UNIMPLEMENTED) log.debug(fields, 'rpc refused');
    else log.info(fields, 'rpc refused');
    return { failure };
  }
}
