// Keeps the container's terminal at the size of the user's.
import type { AttachSession } from '@berth/client';
import { windowSize } from '../terminal/window.ts';

/** Sends the size now, ahead of all input, and whenever it changes or may have: while the process was stopped, too. */
export function followWindow(session: AttachSession): Disposable {
  const resize = (): void => {
    const size = windowSize();
    if (size !== undefined) session.resize(size.columns, size.rows);
  };
  process.on('SIGWINCH', resize);
  process.on('SIGCONT', resize);
  resize();
  return {
    [Symbol.dispose]: () => {
      process.off('SIGWINCH', resize);
      process.off('SIGCONT', resize);
    },
  };
}
