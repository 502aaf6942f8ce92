// Writes a command's answer to stdout; a reader that has gone (`berth ps | head`) is no error worth a word.
import { writeSync } from 'node:fs';
import { EXIT_SIGNAL_BASE } from '../exit-codes.ts';

const STDOUT = 1;
const STDERR = 2;
const SIGPIPE = 13;
const RETRY_MS = 5;
const nap = new Int32Array(new SharedArrayBuffer(4));

/** Writes all of it before returning: answers are small, and nothing may get lost at the exit. */
export function print(text: string): void {
  writeAll(STDOUT, text);
}

/** One line on stderr. Where that has gone, with its terminal perhaps, there is nobody to tell. */
export function complain(text: string): void {
  try {
    writeAll(STDERR, `${text}\n`);
  } catch {
    // What the program does and its exit status stay what they are.
  }
}

function writeAll(fd: number, text: string): void {
  const bytes = Buffer.from(text);
  let at = 0;
  while (at < bytes.length) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // A pipe that somebody else has made non-blocking: wait for its reader.
      if (code === 'EAGAIN') Atomics.wait(nap, 0, 0, RETRY_MS);
      else if (code === 'EPIPE' && fd === STDOUT) process.exit(EXIT_SIGNAL_BASE + SIGPIPE);
      else throw error;
    }
  }
}
