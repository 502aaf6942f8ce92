// The size of the terminal that the user sees.
import { isatty, WriteStream } from 'node:tty';

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;

/** Asks the terminal behind stdout, stderr or stdin, in this order (`berth attach x | tee log`); undefined without any. */
export function windowSize(): { readonly columns: number; readonly rows: number } | undefined {
  for (const fd of [STDOUT, STDERR, STDIN]) {
    if (!isatty(fd)) continue;
    const stream = fd === STDOUT ? process.stdout : fd === STDERR ? process.stderr : new WriteStream(fd);
    const [columns, rows] = stream.getWindowSize();
    if (columns > 0 && rows > 0) return { columns, rows };
  }
  return undefined;
}
