/** A pipe of the test's own process, both ends in its hands. */
import { execFileSync } from 'node:child_process';
import { constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Reading does not wait, writing does; whoever asked closes both. */
export function pipeEnds(): [reader: number, writer: number] {
  const dir = mkdtempSync(join(tmpdir(), 'berth-pipe-'));
  const path = join(dir, 'pipe');
  execFileSync('mkfifo', [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(path, constants.O_WRONLY);
  rmSync(dir, { recursive: true });
  return [reader, writer];
}

/** Another reader of the pipe that `writer` writes to, also where there has been none for a while. */
export const anotherReader = (writer: number): number =>
  openSync(`/proc/self/fd/${writer}`, constants.O_RDONLY | constants.O_NONBLOCK);

const buffer = Buffer.alloc(1024 * 1024);

/** What the pipe holds now, as text. */
export function takeText(reader: number): string {
  try {
    return buffer.toString('utf8', 0, readSync(reader, buffer));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return '';
    throw error;
  }
}
