/** Reading a container's CRI log from disk, strictly: every line must be a record, every byte is counted. */
import { createReadStream } from 'node:fs';
import { createHash } from 'node:crypto';

export type LogSummary = {
  readonly stdoutBytes: number;
  readonly stdoutSha256: string;
  readonly stderrBytes: number;
  readonly records: number;
  /** What the streams held, up to the first few MiB. */
  readonly stdoutText: string;
  readonly stderrText: string;
};

const RECORD = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(?:Z|[+-]\d\d:\d\d) (stdout|stderr) ([PF]) /;
const KEPT_BYTES = 4 * 1024 * 1024;
const NEWLINE = 0x0a;

/**
 * Joins one or more files of a log, oldest first.
 * @throws Error naming the first line that is no record
 */
export async function readLog(...files: string[]): Promise<LogSummary> {
  const hash = createHash('sha256');
  const bytes = { stdout: 0, stderr: 0 };
  const kept: { stdout: Buffer[]; stderr: Buffer[] } = { stdout: [], stderr: [] };
  let records = 0;
  const take = (line: Buffer): void => {
    const match = RECORD.exec(line.toString('latin1', 0, 64));
    if (match === null) throw new Error(`no CRI record: ${JSON.stringify(line.toString('latin1', 0, 100))}`);
    const stream = match[1] === 'stdout' ? 'stdout' : 'stderr';
    // A full record ends with the newline that the container wrote.
    const content = line.subarray(match[0].length, match[2] === 'F' ? line.length : line.length - 1);
    records += 1;
    bytes[stream] += content.length;
    if (stream === 'stdout') hash.update(content);
    if (bytes[stream] <= KEPT_BYTES) kept[stream].push(Buffer.from(content));
  };
  for (const file of files) {
    let rest: Buffer = Buffer.alloc(0);
    for await (const chunk of createReadStream(file, { highWaterMark: 1024 * 1024 })) {
      let data = rest.length === 0 ? (chunk as Buffer) : Buffer.concat([rest, chunk as Buffer]);
      for (let end = data.indexOf(NEWLINE); end >= 0; end = data.indexOf(NEWLINE)) {
        take(data.subarray(0, end + 1));
        data = data.subarray(end + 1);
      }
      rest = data;
    }
    if (rest.length > 0) throw new Error(`${file} ends within a record`);
  }
  return {
    stdoutBytes: bytes.stdout,
    stdoutSha256: hash.digest('hex'),
    stderrBytes: bytes.stderr,
    records,
    stdoutText: Buffer.concat(kept.stdout).toString('latin1'),
    stderrText: Buffer.concat(kept.stderr).toString('latin1'),
  };
}
