// Puts the partial records of each stream together, so that lines of two streams are not torn apart by each other.
import type { LogRecord } from './cri-log.ts';

/** A line, or a piece of one that is too long or not finished yet. */
export type LogLine = {
  /** Of its first record. */
  readonly time: string;
  readonly stream: 'stdout' | 'stderr';
  /** Without newline. */
  readonly content: Buffer;
  /** An earlier piece of the same line has been given already. */
  readonly continues: boolean;
  /** The line ends here. */
  readonly ends: boolean;
};

/** A container may write gigabytes without a newline: pieces of this size are given on. */
const MAX_HELD_BYTES = 1024 * 1024;

type Held = { time: string; parts: Buffer[]; bytes: number; continues: boolean };

/** Joins per stream. */
export class LineJoiner {
  readonly #held = new Map<LogRecord['stream'], Held>();

  /** Takes a record; gives the line or piece that it completes. */
  push(record: LogRecord): LogLine | undefined {
    const held = this.#held.get(record.stream) ?? { time: record.time, parts: [], bytes: 0, continues: false };
    held.parts.push(record.content);
    held.bytes += record.content.length;
    if (!record.partial) {
      this.#held.delete(record.stream);
      return lineOf(record.stream, held, true);
    }
    this.#held.set(record.stream, held);
    return held.bytes >= MAX_HELD_BYTES ? this.#release(record.stream, held) : undefined;
  }

  /** What is held: a prompt without a newline should be seen when nothing more comes for the moment. */
  flush(): LogLine[] {
    const lines: LogLine[] = [];
    for (const [stream, held] of this.#held) if (held.bytes > 0) lines.push(this.#release(stream, held));
    return lines;
  }

  #release(stream: LogRecord['stream'], held: Held): LogLine {
    this.#held.set(stream, { time: held.time, parts: [], bytes: 0, continues: true });
    return lineOf(stream, held, false);
  }
}

const lineOf = (stream: LogRecord['stream'], held: Held, ends: boolean): LogLine => ({
  time: held.time,
  stream,
  content: Buffer.concat(held.parts),
  continues: held.continues,
  ends,
});
