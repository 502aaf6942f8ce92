/** The CRI socket: makes it, serves gRPC on it, takes it away. */
import { chmod, lstat, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { BerthError, messageOf } from '../util/errors.ts';
import { makeOwnFolder } from '../util/folders.ts';
import { settledWithin } from '../util/wait.ts';
import { adapt } from './adapter.ts';
import type { BoundService } from './call.ts';
import type { Instruments } from './instrument.ts';

/** What cri-client accepts, both ways. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
/** Owner and group may connect: the socket is the only guard of CRI, whoever opens it is root. */
const SOCKET_MODE = 0o660;
const SOCKET_UMASK = 0o117;
/** A live daemon accepts at once. */
const PROBE_MS = 2_000;
/** Calls under way at shutdown get this long: most take milliseconds, and a StopContainer is repeated by kubelet. */
const DRAIN_MS = 3_000;

export type CriServer = {
  /** Lets calls under way finish, bounded, and takes the socket away. Idempotent. */
  close(): Promise<void>;
};

/**
 * Listens on a unix socket. The socket file of a dead daemon is replaced.
 * @throws BerthError `SOCKET_IN_USE` when somebody listens there, or something that is no socket is in the way; `FOLDER_UNUSABLE`
 */
export async function serveCri(path: string, services: readonly BoundService[], instruments: Instruments): Promise<CriServer> {
  await makeOwnFolder('folder of the socket', dirname(path), 0o711);
  await clearStaleSocket(path);
  const server = new Server({
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
    'grpc.enable_channelz': 0,
  });
  for (const service of services) {
    const { definition, implementation } = adapt(service, instruments);
    server.addService(definition, implementation);
  }
  await bind(server, path);
  await chmod(path, SOCKET_MODE);
  let closed: Promise<void> | undefined;
  return {
    close: () => {
      closed ??= shutDown(server);
      return closed;
    },
  };
}

async function clearStaleSocket(path: string): Promise<void> {
  const there = await lstat(path).catch(() => undefined);
  if (there === undefined) return;
  if (!there.isSocket()) throw new BerthError('failed-precondition', 'SOCKET_IN_USE', `${path} is in the way: it is not a socket`);
  if (await answers(path)) throw new BerthError('failed-precondition', 'SOCKET_IN_USE', `another daemon serves ${path}`);
  await rm(path, { force: true });
}

function answers(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ path });
  socket.setTimeout(PROBE_MS, () => resolve(true));
  socket.once('connect', () => resolve(true));
  socket.once('error', () => resolve(false));
  return promise.finally(() => socket.destroy());
}

/** The umask is the process's: nothing else makes files while the socket is made. */
async function bind(server: Server, path: string): Promise<void> {
  const before = process.umask(SOCKET_UMASK);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  try {
    server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) => (error === null ? resolve() : reject(error)));
    await promise;
  } catch (cause) {
    throw new BerthError('failed-precondition', 'SOCKET_IN_USE', `${path} cannot be listened on: ${messageOf(cause)}`, { cause });
  } finally {
    process.umask(before);
  }
}

async function shutDown(server: Server): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  server.tryShutdown(() => resolve());
  if (!(await settledWithin(promise, DRAIN_MS))) server.forceShutdown();
}
