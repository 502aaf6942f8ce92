// `berth logs`: a container's log file on stdout and stderr.
import type { Writable } from 'node:stream';
import { once } from 'node:events';
import { CriLogParser, type LogRecord } from './cri-log.ts';
import { harmless } from './harmless.ts';
import { LineJoiner, type LogLine } from './line-joiner.ts';
import { readLog } from './log-file.ts';
import { tailStart } from './tail-start.ts';

export type Sinks = { readonly stdout: Writable; readonly stderr: Writable };

export type ShowOptions = {
  /** Only the last lines. */
  readonly tail?: number | undefined;
  readonly timestamps?: boolean;
  /** Go on until this says that the container has ended. */
  readonly finished?: (() => Promise<boolean>) | undefined;
  /** Which streams' bytes are made harmless, because a terminal shows them. */
  readonly harmless?: { readonly stdout: boolean; readonly stderr: boolean };
  readonly signal?: AbortSignal;
};

/** Shows a log from disk; whether all of it was there to be read. @throws NotACriLog, and what opening the file throws. */
export async function showLog(path: string, sinks: Sinks, options: ShowOptions = {}): Promise<boolean> {
  const { tail, signal } = options;
  const parser = new CriLogParser();
  const joiner = new LineJoiner();
  let complete = true;
  let last: LastLines | undefined = tail === undefined ? undefined : new LastLines(tail);
  const show = async (line: LogLine): Promise<void> => {
    if (last === undefined) await write(sinks[line.stream], render(line, options));
    else last.add(line);
  };
  const release = async (): Promise<void> => {
    const lines = last?.lines ?? [];
    last = undefined;
    for (const line of lines) await show(line);
  };
  const { from, bytes: there } = tail === undefined ? { from: 0, bytes: 0 } : await tailStart(path, tail);
  let read = 0;
  const follow = { from, ...(options.finished && { finished: options.finished }), ...(signal && { signal }) };
  for await (const chunk of readLog(path, follow)) {
    if (chunk.kind === 'rotated') parser.reset();
    else if (chunk.kind === 'gap') complete = false;
    else if (chunk.kind === 'idle') {
      for (const line of joiner.flush()) await show(line);
      await release();
    } else {
      for (const record of parser.push(chunk.bytes)) {
        const line = joiner.push(record);
        if (line !== undefined) await show(line);
      }
      read += chunk.bytes.length;
      // Not only once all has been read: a container that writes more quickly than it is read here would never be shown.
      if (options.finished !== undefined && read >= there) await release();
    }
  }
  for (const line of joiner.flush()) await show(line);
  await release();
  return complete;
}

/** The bytes that the container wrote, as they were: for output that ended before anybody could attach. */
export async function replayLog(path: string, sinks: Sinks): Promise<void> {
  const parser = new CriLogParser();
  for await (const chunk of readLog(path)) {
    if (chunk.kind === 'bytes') for (const record of parser.push(chunk.bytes)) await write(sinks[record.stream], raw(record));
  }
}

const NEWLINE = Buffer.from('\n');

const raw = (record: LogRecord): Buffer => (record.partial ? record.content : Buffer.concat([record.content, NEWLINE]));

function render(line: LogLine, { timestamps = false, harmless: terminal }: ShowOptions): Buffer {
  const parts = [terminal?.[line.stream] === true ? harmless(line.content) : line.content];
  if (timestamps && !line.continues) parts.unshift(Buffer.from(`${line.time} `));
  if (line.ends) parts.push(NEWLINE);
  return Buffer.concat(parts);
}

async function write(sink: Writable, bytes: Buffer): Promise<void> {
  if (!sink.write(bytes)) await once(sink, 'drain');
}

/** The newest lines, pieces of long ones counted with their beginning. */
class LastLines {
  readonly lines: LogLine[] = [];
  readonly #most: number;
  #begun = 0;

  constructor(most: number) {
    this.#most = most;
  }

  add(line: LogLine): void {
    this.lines.push(line);
    if (!line.continues) this.#begun += 1;
    while (this.#begun > this.#most || (this.#most === 0 && this.lines.length > 0) || this.lines[0]?.continues === true) {
      if (this.lines.shift()?.continues === false) this.#begun -= 1;
    }
  }
}
