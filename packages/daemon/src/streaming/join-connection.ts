/** Joins a client's forwarded connection to one into a pod: bytes both ways, each half ended on its own, an abort passed on as one. */
import type { Duplex } from 'node:stream';
import { readIntoFreshMemory } from '../transport/read-memory.ts';
import { cutOff, drop, type PodSide } from './forward-target.ts';

/** Bytes that were carried. */
export type Traffic = { toPod: number; toClient: number };

/**
 * How long the side that is left may take to its own end, once the other has gone in order: a program that has all its input and whose
 * answer nobody waits for; a client that goes on sending to a program that has ended.
 */
const LEFT_ALONE_MS = 30_000;

/**
 * Resolves when both are closed. Back-pressure is that of the streams, nothing is kept here. Whoever ends the session destroys both.
 * Errors of either side end it and are nobody else's business.
 */
export async function joinConnection(
  client: Duplex,
  pod: PodSide,
  traffic: Traffic,
  leftAloneMs: number = LEFT_ALONE_MS,
): Promise<void> {
  client.on('error', () => {});
  pod.on('error', () => {});
  const countToPod = (chunk: Buffer): void => void (traffic.toPod += chunk.length);
  const countToClient = (chunk: Buffer): void => {
    traffic.toClient += chunk.length;
    readIntoFreshMemory(chunk.length);
  };
  client.on('data', countToPod);
  pod.on('data', countToClient);
  client.pipe(pod);
  pod.pipe(client);
  let timer: NodeJS.Timeout | undefined;
  const discard = (side: Duplex): void => {
    side.off('data', side === client ? countToPod : countToClient);
    side.resume();
  };
  /** Takes and throws away what still comes from the side that is left, for a while. */
  const leftAlone = (side: PodSide): void => {
    discard(side);
    timer = setTimeout(() => drop(side, true), leftAloneMs);
  };

  /** The program did not end its answer. */
  let cut = false;
  whenInputBreaks(pod, (reset) => {
    cut = reset;
    client.unpipe(pod);
    discard(client);
    if (reset) {
      pod.unpipe(client);
      pod.pipe(client, { end: false });
    }
    if (pod.readableEnded) pod.destroy();
    else pod.once('end', () => pod.destroy());
  });

  const clientClosed = (): void => {
    if (pod.destroyed) return;
    if (client.readableEnded) leftAlone(pod);
    else cutOff(pod);
  };
  const podClosed = (): void => {
    if (client.destroyed) return;
    if (!pod.readableEnded || cut) client.destroy();
    // The client still gets all of the answer, however slowly it reads; only then is it hurried.
    else if (client.writableFinished) leftAlone(client);
    else {
      discard(client);
      client.once('finish', () => leftAlone(client));
    }
  };
  await Promise.all([closed(client).then(clientClosed), closed(pod).then(podClosed)]);
  clearTimeout(timer);
}

/**
 * A program that has closed refuses what is still sent to it with a reset, which a write may hear of first: Node would destroy the socket, and
 * with it the answer that the kernel still has. Instead such a write is taken for done, once `broken` has been told, and reading goes on
 * to the end. The kernel says ECONNRESET where the program had not ended its half, and says it once: the end that is read then is none.
 */
function whenInputBreaks(pod: PodSide, broken: (reset: boolean) => void): void {
  let isBroken = false;
  const taken =
    (done: (error?: Error | null) => void) =>
    (error?: NodeJS.ErrnoException | null): void => {
      if (error?.code !== 'EPIPE' && error?.code !== 'ECONNRESET') return done(error);
      if (!isBroken) {
        isBroken = true;
        broken(error.code === 'ECONNRESET');
      }
      done();
    };
  const write = pod._write.bind(pod);
  pod._write = (chunk, encoding, done) => (isBroken ? done() : write(chunk, encoding, taken(done)));
  const writev = pod._writev?.bind(pod);
  if (writev !== undefined) pod._writev = (chunks, done) => (isBroken ? done() : writev(chunks, taken(done)));
}

function closed(side: Duplex): Promise<void> {
  if (side.closed) return Promise.resolve();
  return new Promise((resolve) => side.once('close', resolve));
}
