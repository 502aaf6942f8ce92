// The CRI log format: `<RFC3339Nano> stdout|stderr P|F <content>`, read from bytes that are cut anywhere.

/** One record. The content is bytes, without the newline that ends the record. */
export type LogRecord = {
  readonly time: string;
  readonly stream: 'stdout' | 'stderr';
  /** `P`: the line goes on in this stream's next record. */
  readonly partial: boolean;
  readonly content: Buffer;
};

const NEWLINE = 0x0a;
const SPACE = 0x20;
/** Records hold at most 16 KiB; without a newline within this, the file is no CRI log. */
const MAX_RECORD_BYTES = 1024 * 1024;
const PARTIAL = 'P'.charCodeAt(0);
const FULL = 'F'.charCodeAt(0);

/** The file is not what it should be. */
export class NotACriLog extends Error {
  override readonly name = 'NotACriLog';
}

/** Takes bytes, gives records; keeps the beginning of the last one until the rest comes. */
export class CriLogParser {
  #rest: Buffer[] = [];
  #restBytes = 0;

  /** Records that are complete now, in order. @throws NotACriLog */
  push(bytes: Buffer): LogRecord[] {
    const records: LogRecord[] = [];
    let from = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, from)) {
      const piece = bytes.subarray(from, end);
      records.push(parseRecord(this.#restBytes === 0 ? piece : Buffer.concat([...this.#rest, piece])));
      this.reset();
      from = end + 1;
    }
    if (from < bytes.length) {
      this.#rest.push(bytes.subarray(from));
      this.#restBytes += bytes.length - from;
      if (this.#restBytes > MAX_RECORD_BYTES) throw new NotACriLog(`no record ends within ${MAX_RECORD_BYTES} bytes`);
    }
    return records;
  }

  /** Forgets an unfinished record: another file begins. */
  reset(): void {
    this.#rest = [];
    this.#restBytes = 0;
  }
}

/** One record from its bytes without the newline. @throws NotACriLog */
export function parseRecord(line: Buffer): LogRecord {
  const afterTime = line.indexOf(SPACE);
  const afterStream = afterTime < 0 ? -1 : line.indexOf(SPACE, afterTime + 1);
  if (afterStream < 0) throw new NotACriLog(`this is no record: ${line.toString('latin1', 0, 80)}`);
  const stream = line.toString('latin1', afterTime + 1, afterStream);
  const tag = line[afterStream + 1];
  // Tags may grow by `:` and more; an empty line may lack the blank behind its tag.
  const behindTag = line.indexOf(SPACE, afterStream + 1);
  if ((stream !== 'stdout' && stream !== 'stderr') || (tag !== PARTIAL && tag !== FULL)) {
    throw new NotACriLog(`this is no record: ${line.toString('latin1', 0, 80)}`);
  }
  return {
    time: line.toString('latin1', 0, afterTime),
    stream,
    partial: tag === PARTIAL,
    content: behindTag < 0 ? Buffer.alloc(0) : line.subarray(behindTag + 1),
  };
}
