// Finds the two streams that make one forwarded connection.

import { Buffer } from 'node:buffer';
import { Deadline } from '../../util/deadline.ts';
import { MAX_REQUEST_ID_BYTES, RST_STATUS, STREAM_CREATION_MS } from './constants.ts';
import type { ForwardedData } from './forwarded-data.ts';
import type { SpdyStream } from './stream.ts';

/** A forwarded connection whose streams are both there. */
export type ForwardPair = { readonly port: number; readonly data: ForwardedData };

type Waiting = { readonly port: number; readonly half: SpdyStream | ForwardedData; readonly timer: Deadline };

type StreamType = 'data' | 'error';

const IGNORE = { data: (): void => undefined, end: (): void => undefined, reset: (): void => undefined };
const MAX_PORT = 65_535;
/** Clients open the error stream first, and the data stream with the next id, which is two higher. */
const NEXT_ID = 2;

/** Accepts streams, and keeps the first of a pair until the other comes, for a while. */
export class ForwardPairs {
  readonly #makeData: (stream: SpdyStream) => ForwardedData;
  readonly #timeoutMs: number;
  readonly #waiting = new Map<string, Waiting>();

  /** `timeoutMs`: by tests only. */
  constructor(makeData: (stream: SpdyStream) => ForwardedData, timeoutMs: number = STREAM_CREATION_MS) {
    this.#makeData = makeData;
    this.#timeoutMs = timeoutMs;
  }

  /** Streams without their other half. */
  get size(): number {
    return this.#waiting.size;
  }

  /** The pair that this stream completes. Undefined: it waits, or was reset as useless. */
  add(stream: SpdyStream): ForwardPair | undefined {
    const type = stream.headers.get('streamtype');
    const port = parsePort(stream.headers.get('port'));
    const request = stream.headers.get('requestid') ?? '';
    if ((type !== 'data' && type !== 'error') || port === undefined || request.length > MAX_REQUEST_ID_BYTES) {
      stream.reset(RST_STATUS.protocolError);
      return undefined;
    }
    const key = pairKey(request, stream.id, type);
    const other = this.#waiting.get(key);
    if (other !== undefined && (other.port !== port || isData(other.half) === (type === 'data'))) {
      stream.reset(RST_STATUS.protocolError);
      return undefined;
    }
    const half = type === 'data' ? this.#makeData(stream) : stream;
    if (!isData(half)) half.accept(IGNORE);
    if (other === undefined) {
      const timer = new Deadline(this.#timeoutMs, () => this.#giveUp(key)).unref();
      this.#waiting.set(key, { port, half, timer });
      return undefined;
    }
    this.#forget(key, other);
    const [data, error] = isData(half) ? [half, other.half] : [other.half, half];
    if (!isData(data) || isData(error)) throw new Error('a pair of two streams of one type');
    data.pairWith(error);
    return { port, data };
  }

  /** Resets what waits. */
  clear(): void {
    for (const [key, waiting] of this.#waiting) {
      this.#forget(key, waiting);
      drop(waiting.half);
    }
  }

  #giveUp(key: string): void {
    const waiting = this.#waiting.get(key);
    if (waiting === undefined) return;
    this.#forget(key, waiting);
    const { half, port } = waiting;
    const message = `the data stream for port ${port} was not opened within ${this.#timeoutMs / 1000} s`;
    if (!isData(half)) half.end(Buffer.from(message));
    drop(half);
  }

  #forget(key: string, waiting: Waiting): void {
    waiting.timer.cancel();
    this.#waiting.delete(key);
  }
}

function isData(half: SpdyStream | ForwardedData): half is ForwardedData {
  return 'pairWith' in half;
}

function drop(half: SpdyStream | ForwardedData): void {
  if (isData(half)) half.destroy();
  else half.reset();
}

/** Clients older than Kubernetes 1.1 name no request: the pair is told by the order of its streams, as Kubernetes' servers do. */
function pairKey(request: string, id: number, type: StreamType): string {
  if (request !== '') return `request ${request}`;
  return `stream ${type === 'error' ? id : id - NEXT_ID}`;
}

function parsePort(text: string | undefined): number | undefined {
  const port = text !== undefined && /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= MAX_PORT ? port : undefined;
}
