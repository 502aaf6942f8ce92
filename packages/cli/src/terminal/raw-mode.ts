// Hands every key of the terminal to the container, and gives the terminal back whichever way the process ends.
import { spawnSync } from 'node:child_process';
import type { ReadStream } from 'node:tty';

/** A terminal in raw mode. */
export type RawMode = Disposable & {
  /** Sets raw mode again, after somebody else had the terminal. */
  enter(): void;
  /** Gives the terminal back as it was; may be called at any time, any number of times. */
  leave(): void;
};

/**
 * Sets raw mode on stdin until disposed of. Covers the normal end, errors nobody caught, `process.exit` and, through whoever listens
 * for them, signals; only SIGKILL leaves a raw terminal behind.
 */
export function rawMode(stdin: ReadStream): RawMode {
  let raw = false;
  const leave = (): void => {
    if (!raw) return;
    raw = false;
    stdin.setRawMode(false);
  };
  const enter = (): void => {
    if (raw) return;
    raw = true;
    stdin.setRawMode(true);
    // Node's raw mode still turns newline into carriage return and newline; a full-screen program in the container, whose own
    // terminal has done what it wanted, would be drawn wrongly. Without stty it is, and nothing worse.
    spawnSync('stty', ['-opost'], { stdio: [0, 'ignore', 'ignore'] });
  };
  process.on('exit', leave);
  enter();
  return {
    enter,
    leave,
    [Symbol.dispose]: () => {
      leave();
      process.off('exit', leave);
    },
  };
}
