/** What a container wrote, from its CRI log: kubelet's side of `kubectl logs`. */
import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

const RECORD = /^\S+ (?:stdout|stderr) ([PF]) /;
const NEWLINE = 0x0a;
/** How often a followed log is looked at. */
const POLL_MS = 50;
const READ_BYTES = 256 * 1024;

/**
 * The content of a log in pieces; with `running` it goes on until that says no and everything has been read.
 * @throws Error naming a line that is no record
 */
export async function* logContent(file: string, running?: () => Promise<boolean>): AsyncGenerator<Buffer> {
  await using handle = await open(file);
  const block = Buffer.alloc(READ_BYTES);
  let rest: Buffer = Buffer.alloc(0);
  for (let ended = running === undefined; ; ) {
    // Asked before reading: what is written before the container's end is read after this answer.
    const over = ended || !(await running?.());
    for (;;) {
      const { bytesRead } = await handle.read(block);
      if (bytesRead === 0) break;
      const { content, left } = takeRecords(Buffer.concat([rest, block.subarray(0, bytesRead)]));
      rest = left;
      if (content.length > 0) yield content;
    }
    if (over && ended) return;
    ended = over;
    if (!over) await sleep(POLL_MS);
  }
}

/** Whether a log holds some text by now; false while there is no log. */
export function logHas(file: string, text: string): boolean {
  try {
    return readFileSync(file, 'latin1').includes(text);
  } catch {
    return false;
  }
}

/** The newest lines of a text, with their newlines. */
export function lastLines(text: Buffer, count: number): Buffer {
  let at = text.length;
  for (let left = count; left > 0 && at > 0; left -= 1) at = text.lastIndexOf(NEWLINE, at - 2) + 1;
  return count === 0 ? Buffer.alloc(0) : text.subarray(at);
}

function takeRecords(data: Buffer): { content: Buffer; left: Buffer } {
  const pieces: Buffer[] = [];
  let at = 0;
  for (let end = data.indexOf(NEWLINE); end >= 0; end = data.indexOf(NEWLINE, at)) {
    const head = RECORD.exec(data.toString('latin1', at, Math.min(end, at + 80)));
    if (head === null) throw new Error(`no CRI record: ${data.toString('latin1', at, Math.min(end, at + 80))}`);
    // A full record ends with the newline that the container wrote; that of a partial one is the log's own.
    pieces.push(data.subarray(at + head[0].length, head[1] === 'F' ? end + 1 : end));
    at = end + 1;
  }
  return { content: Buffer.concat(pieces), left: Buffer.from(data.subarray(at)) };
}
