/** Waiting for bytes. */
import type { Session } from './session.ts';

/** A session of either transport. */
export type Receiving = Pick<Session, 'received' | 'status' | 'closed' | 'onOutput'>;

/** Resolves when this many bytes have come since now; rejects when the session ends or nothing comes for a while. */
export const received = async (session: Receiving, bytes: number, idleMs = 30_000): Promise<void> => {
  if (bytes <= 0) return;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const goal = session.received + bytes;
  let last = -1;
  const watch = setInterval(() => {
    if (session.received === last) reject(new Error(`${goal - last} of ${bytes} bytes have not come`));
    last = session.received;
  }, idleMs);
  session.onOutput = () => {
    if (session.received >= goal) resolve();
  };
  void session.closed.then(() => reject(new Error(`the session ended ${goal - session.received} bytes early: ${session.status}`)));
  try {
    await promise;
  } finally {
    clearInterval(watch);
    session.onOutput = () => {};
  }
};

/** Resolves when the session has ended; rejects when it has brought another number of bytes, or no status that says success. */
export const ended = async (session: Receiving, bytes: number): Promise<void> => {
  await session.closed;
  if (session.received !== bytes) throw new Error(`${session.received} of ${bytes} bytes have come: ${session.status}`);
  if (!session.status.includes('Success')) throw new Error(`the session did not end well: ${session.status}`);
};
