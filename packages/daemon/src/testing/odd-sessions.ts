/** Sessions and forwarded connections that do something at random, all of them in the end what their contract asks. */
import { Buffer } from 'node:buffer';
import type { ServeForward } from '../streaming/test-server.ts';
import type { ForwardedConnection } from '../transport/port-forward.ts';
import type { OutputStream, Transport } from '../transport/transport.ts';
import { pick, type Random } from './odd-frames.ts';

const CHUNK = Buffer.alloc(32 * 1024);
const MUCH_OUTPUT_BYTES = 16 * 2 ** 20;
const SUCCESS = { status: 'Success' } as const;

/** How a session has ended: with the reason that its transport gave, or, without one, by itself. */
export type OddEnd = { readonly reason?: string; readonly eof: boolean };

/** Who wants to know. */
export type OddListener = {
  /** The transport did what it may not do. */
  readonly broken: (what: string) => void;
  readonly heard?: (chunk: Uint8Array) => void;
  /** The session ends by itself from here on. */
  readonly ending?: () => void;
};

/** Serves a session; resolves when it is over. */
export function serveAtRandom(random: Random, transport: Transport, { broken, heard, ending }: OddListener): Promise<OddEnd> {
  return new Promise((resolve) => {
    let over = false;
    let eof = false;
    let full = false;
    const write = (stream: OutputStream, chunk: Buffer): void => {
      if (!full) full = !transport.write(stream, chunk);
    };
    const end = (): void => {
      if (over) return;
      over = true;
      ending?.();
      void transport.finish(SUCCESS).then(() => resolve({ eof }));
    };
    const dawdles = random(3) === 0;
    const says = random(2) === 0;
    const endsWithInput = random(2) === 0;
    transport.start({
      stdin: (chunk) => {
        if (over || eof) broken(`input after ${over ? 'the end' : 'its end'}`);
        if (chunk.length === 0) broken('empty input');
        heard?.(chunk);
        if (says) write('stdout', Buffer.from(chunk));
        if (!dawdles) return;
        transport.pauseInput();
        if (random(4) > 0) setImmediate(() => transport.resumeInput());
        else setTimeout(() => transport.resumeInput(), random(8));
      },
      stdinEof: () => {
        if (over || eof) broken('a second end of input');
        eof = true;
        if (endsWithInput) end();
      },
      resize: ({ columns, rows }) => {
        if (over || columns < 1 || rows < 1) broken(`a size of ${columns} by ${rows}`);
      },
      drain: () => {
        if (over || !full) broken('drained without need');
        full = false;
      },
      closed: (reason) => {
        if (over) broken('closed after the end');
        over = true;
        resolve({ reason, eof });
      },
    });
    const act = random(16);
    if (act < 6) write(pick(random, ['stdout', 'stderr']), Buffer.alloc(1 + random(200_000)));
    // More than the kernel takes for a client that does not read.
    for (let i = 0; act === 8 && i < MUCH_OUTPUT_BYTES / CHUNK.length; i += 1) write('stdout', CHUNK);
    if (act === 0) end();
    else if (act === 1) setImmediate(end);
    else if (act === 2) setTimeout(end, random(20));
    else if (act === 7) {
      // Long enough for a client to fill what there is.
      transport.pauseInput();
      setTimeout(() => transport.resumeInput(), 50 + random(100));
    } else if (act === 6) {
      ending?.();
      transport.destroy();
    }
  });
}

function takeAtRandom(random: Random, connection: ForwardedConnection): void {
  const { data } = connection;
  data.on('error', () => undefined);
  const act = random(8);
  if (act === 0) connection.fail('no such port');
  else if (act === 1) data.destroy();
  else if (act === 2) data.resume().end('bye');
  else if (act === 3) data.resume().write(Buffer.alloc(random(70_000)));
  else data.pipe(data);
}

/** The same for port-forward. */
export function forwardAtRandom(
  random: Random,
  transport: Parameters<ServeForward>[1],
  broken: (what: string) => void,
): Promise<void> {
  return new Promise((resolve) => {
    let over = false;
    transport.start({
      connection: (connection) => {
        if (over) broken('a connection after the end');
        takeAtRandom(random, connection);
      },
      closed: () => {
        if (over) broken('closed after the end');
        over = true;
        resolve();
      },
    });
    const act = random(12);
    if (act === 0) transport.destroy();
    if (act !== 1) return;
    over = true;
    void transport.finish().then(resolve);
  });
}
