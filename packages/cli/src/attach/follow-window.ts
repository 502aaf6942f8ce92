// Keeps the container's terminal at the size of the user's, and the user's in the right mode over Ctrl-Z from outside.
import type { AttachSession } from '@berth/client';
import type { RawMode } from '../terminal/raw-mode.ts';
import { windowSize } from '../terminal/window.ts';

/** Sends the size now, ahead of all input, and whenever it changes. */
export function followWindow(session: AttachSession, raw: RawMode | undefined): Disposable {
  const resize = (): void => {
    const size = windowSize();
    if (size !== undefined) session.resize(size.columns, size.rows);
  };
  // Somebody else stops this process: the shell gets the terminal as it was, and it is taken again afterwards.
  const stop = (): void => {
    raw?.leave();
    process.kill(process.pid, 'SIGSTOP');
  };
  const goOn = (): void => {
    raw?.enter();
    resize();
  };
  process.on('SIGWINCH', resize);
  process.on('SIGCONT', goOn);
  if (raw !== undefined) process.on('SIGTSTP', stop);
  resize();
  return {
    [Symbol.dispose]: () => {
      process.off('SIGWINCH', resize);
      process.off('SIGCONT', goOn);
      process.off('SIGTSTP', stop);
    },
  };
}
