// Hands every key of the terminal to the container.
import { spawnSync } from 'node:child_process';
import type { ReadStream } from 'node:tty';
import { holdTerminal } from './hold-terminal.ts';

/** Sets raw mode on stdin until disposed of. */
export function rawMode(stdin: ReadStream): Disposable {
  const enter = (): void => {
    stdin.setRawMode(true);
    // Node's raw mode still turns newline into carriage return and newline; a full-screen program in the container, whose own
    // terminal has done what it wanted, would be drawn wrongly. Without stty it is, and nothing worse.
    stty('-opost');
  };
  return holdTerminal(enter, () => void stdin.setRawMode(false));
}

/**
 * The terminal of somebody who types lines to a container without one stays in its line mode. But in that mode it keeps Ctrl-S and Ctrl-Q
 * for itself, and every other key until the line's end: both would keep detach keys from being seen. Without stty they need an Enter.
 */
export function lineModeWith(detachKeys: Uint8Array): Disposable | undefined {
  const last = detachKeys.at(-1);
  if (last === undefined) return undefined;
  const before = stty('-g').trim();
  if (before === '') return undefined;
  // A letter cannot end lines: it would end them in words too.
  const endsLine = last < FIRST_PRINTABLE ? ['eol', String(last).padStart(2, '0')] : [];
  return holdTerminal(
    () => stty('-ixon', ...endsLine),
    () => stty(before),
  );
}

const FIRST_PRINTABLE = 0x20;

/** Runs stty on stdin; gives what it prints. */
const stty = (...args: readonly string[]): string =>
  spawnSync('stty', args, { stdio: [0, 'pipe', 'ignore'], encoding: 'utf8' }).stdout ?? '';
