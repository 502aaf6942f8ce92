/** Runs GNU tar over an archive that the policy has passed: it restores owners, devices and attributes, which Node cannot. */
import { spawn } from 'node:child_process';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { BerthError } from '../util/errors.ts';

/** How much of tar's complaints is kept for the message. */
const MAX_STDERR_BYTES = 4096;

/** Directories that an archive implies without listing them get 0755 whatever the daemon's umask is. */
const SCRIPT = 'umask 022; exec tar "$@"';

const OPTIONS = [
  '--extract',
  '--file=-',
  // Reads of 64 KiB instead of 10.
  '--blocking-factor=128',
  '--preserve-permissions',
  '--same-owner',
  '--numeric-owner',
  '--xattrs',
  '--xattrs-include=*',
  // A directory may be listed before its contents in one place and after them in another.
  '--delay-directory-restore',
  // Images carry times of the future and of 1970.
  '--warning=no-timestamp',
];

const BROKEN_PIPE = new Set<unknown>(['EPIPE', 'ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE']);
const isBrokenPipe = (error: unknown): boolean => error instanceof Error && 'code' in error && BROKEN_PIPE.has(error.code);

function failure(stderr: string, how: string): BerthError {
  const lines = stderr.split('\n').filter((line) => line !== '' && !line.includes('Exiting with failure status'));
  const said = lines.slice(0, 3).join('; ') || how;
  // tar reports a write that was cut short, which only a disk that has just filled up does, without the reason.
  if (/No space left on device|Disk quota exceeded|Wrote only \d+ of \d+ bytes/.test(stderr)) {
    return new BerthError('resource-exhausted', 'IMAGE_NO_SPACE', `there is no room for the layer: ${said}`);
  }
  return new BerthError('invalid-argument', 'IMAGE_LAYER_DAMAGED', `the layer could not be unpacked: ${said}`);
}

/**
 * Unpacks `archive` into `directory`. On abort, or when the archive throws, tar is killed and what it has made stays for the caller
 * to remove; the returned promise settles only after tar has ended.
 */
export async function untar(archive: AsyncIterable<Buffer>, directory: string, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  const child = spawn('/bin/sh', ['-c', SCRIPT, 'tar', ...OPTIONS, `--directory=${directory}`], {
    stdio: ['pipe', 'ignore', 'pipe'],
    env: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(0, MAX_STDERR_BYTES);
  });
  const ended = new Promise<string | undefined>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, by) => resolve(code === 0 ? undefined : `tar ended with ${by ?? `status ${code}`}`));
  });
  let cause: unknown;
  try {
    await pipeline(Readable.from(archive, { objectMode: true, highWaterMark: 1 }), child.stdin, { signal });
  } catch (error) {
    cause = error;
    // tar that has given up closes the pipe: its own words are the reason then.
    if (isBrokenPipe(error)) cause = undefined;
    else child.kill('SIGKILL');
  }
  const how = await ended;
  if (cause !== undefined) throw cause instanceof Error ? cause : new Error('unpacking was stopped', { cause });
  if (how !== undefined) throw failure(stderr, how);
  // tar only warns about attributes; without this one a layer would show what it means to hide.
  if (stderr.includes('trusted.overlay')) {
    throw new BerthError(
      'failed-precondition',
      'IMAGE_NO_XATTR',
      'the file system of the root directory takes no trusted.overlay attributes',
    );
  }
}
