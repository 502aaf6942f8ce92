// One client on WebSocket: joins socket, frame parser, channels, input queue and sender into a `Transport`.

import { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import { CHANNEL, encodeStatus, type Subprotocol } from '@berth/attach-protocol';
import type { ClientReads } from '../client-reads.ts';
import type { OutputStream, SessionStatus, Transport, TransportHandlers } from '../transport.ts';
import type { RequestedStreams } from '../upgrade.ts';
import { wireStatus } from '../wire-status.ts';
import { Beats } from './beats.ts';
import { ChannelReader } from './channel-reader.ts';
import { LOST_CLIENT_INPUT_MS, MAX_PENDING_INPUT_BYTES } from '../limits.ts';
import { CLOSE_CODE, MAX_MESSAGE_BYTES } from './constants.ts';
import { type FrameEvents, FrameParser } from './frame-parser.ts';
import { InputQueue } from '../input-queue.ts';
import { KEEPALIVE_TIMES, Keepalive, type KeepaliveTimes } from './keepalive.ts';
import { destroyWhenWritten, LINGER_TIMES, type LingerTimes, linger, lingerForPeer } from '../linger.ts';
import { tcpKey } from '../tcp-table.ts';
import { unsentBytes } from '../unsent-bytes.ts';
import { MessageSender } from './message-sender.ts';
import { type Flow, Pace } from './pace.ts';

/** An upgraded connection: the 101 has been written to the socket. */
export type WebSocketConnection = {
  readonly reads: ClientReads;
  readonly protocol: Subprotocol;
  readonly streams: RequestedStreams;
};

/** Waiting times, by tests only. */
export type TransportTimes = { readonly keepalive: KeepaliveTimes; readonly linger: LingerTimes; readonly lostInputMs: number };

const TIMES: TransportTimes = { keepalive: KEEPALIVE_TIMES, linger: LINGER_TIMES, lostInputMs: LOST_CLIENT_INPUT_MS };
const NOTHING = new Uint8Array(0);
/** Stands behind the status; no mark of the pace is that long. */
const LAST_PING = Buffer.from('over?');

/**
 *   open --finish()--> finishing --client closes, or takes nothing--> closed
 *    |                                                                  ^
 *    +--client's close frame, FIN, fault, loss; destroy()--> lost ------+
 *
 * `finishing`: status and close frame are on their way, input is read and thrown away. `lost`: `closed` has been or will be said, after
 * the input that came before.
 */
type State = 'open' | 'finishing' | 'lost' | 'closed';

/** Sends the empty first message at once: clients wait for it to know that they are attached. */
export class WebSocketTransport implements Transport {
  readonly protocol: string;
  readonly #reads: ClientReads;
  readonly #socket: Socket;
  readonly #streams: RequestedStreams;
  readonly #subprotocol: Subprotocol;
  readonly #times: TransportTimes;
  readonly #sender: MessageSender;
  readonly #parser: FrameParser;
  readonly #input: InputQueue;
  readonly #keepalive: Keepalive;
  readonly #flow: Flow;
  readonly #gone = Promise.withResolvers<void>();
  #handlers: TransportHandlers | undefined;
  #state: State = 'open';
  #reading = true;
  #wantsDrain = false;
  /** The client has answered the ping behind the last byte. */
  #hasReadAll = false;
  #lossReason = 'connection lost';

  constructor(connection: WebSocketConnection, times: TransportTimes = TIMES) {
    const { reads, protocol, streams } = connection;
    const { socket } = reads;
    this.protocol = protocol.name;
    this.#reads = reads;
    this.#socket = socket;
    this.#streams = streams;
    this.#subprotocol = protocol;
    this.#times = times;
    this.#sender = new MessageSender(socket, protocol);
    this.#input = new InputQueue(
      {
        stdin: (chunk) => this.#handlers?.stdin(chunk),
        stdinEof: () => this.#handlers?.stdinEof(),
        closed: (reason) => this.#handlers?.closed(reason),
      },
      times.lostInputMs,
    );
    this.#parser = this.#makeParser();
    // Only programs send input by the megabyte, and those have no terminal.
    const isFlooded = streams.stdin && !streams.tty;
    this.#keepalive = new Keepalive(
      socket,
      { sender: this.#sender, sign: isFlooded ? 'pong' : 'ping' },
      times.keepalive,
      times.lostInputMs,
      () => this.#lost('client went away'),
    );
    this.#flow = isFlooded
      ? new Beats(() => this.#sender.pong())
      : new Pace({
          ping: (payload) => this.#state === 'open' && this.#sender.ping(payload),
          opened: () => this.#room(),
          unsent: () => unsentBytes(tcpKey(socket)),
        });
    socket.setNoDelay(true);
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#lossReason = `connection lost: ${error.code ?? error.message}`;
    });
    socket.once('close', () => this.#socketClosed());
    socket.on('drain', () => this.#room());
    this.#sender.message(streams.stdout ? CHANNEL.stdout : streams.stderr ? CHANNEL.stderr : CHANNEL.status, NOTHING);
  }

  start(handlers: TransportHandlers): void {
    this.#handlers = handlers;
    this.#reads.start((chunk) => this.#read(chunk));
    this.#socket.once('end', () => this.#lost('client went away'));
    // Lost before the session was ready: said as any other loss, and not from within this call.
    if (this.#socket.destroyed) queueMicrotask(() => this.#input.close(this.#lossReason));
  }

  write(stream: OutputStream, chunk: Uint8Array): boolean {
    if (this.#state !== 'open' || this.#keepalive.peerEnded || !this.#streams[stream] || chunk.length === 0) return true;
    this.#sender.message(CHANNEL[stream], chunk);
    this.#flow.sent(chunk.length);
    if (!this.#sender.full && !this.#flow.closed) return true;
    this.#wantsDrain = true;
    return false;
  }

  get flushed(): boolean {
    return this.#sender.idle;
  }

  unsent(): Promise<number> {
    return unsentBytes(tcpKey(this.#socket));
  }

  pauseInput(): void {
    this.#input.pause();
  }

  resumeInput(): void {
    this.#input.resume();
    if (!this.#reading && this.#input.bytes <= MAX_PENDING_INPUT_BYTES / 2) this.#readOn();
  }

  finish(status: SessionStatus): Promise<void> {
    this.#input.stop();
    if (this.#state === 'open') {
      this.#state = 'finishing';
      const message = encodeStatus(this.#subprotocol, wireStatus(status));
      if (message !== undefined) this.#sender.message(CHANNEL.status, message);
      this.#sender.ping(LAST_PING);
      this.#sender.close(CLOSE_CODE.normal);
      this.#stop();
      // RFC 6455, 5.5.1: the client answers with a close frame of its own. One that answers the ping alone has read everything as well.
      const peer = { hasRead: () => this.#hasReadAll, maySayNothing: !this.#flow.answers };
      // Without handlers nothing is read, the answer neither.
      if (this.#handlers === undefined) linger(this.#socket, this.#times.linger);
      else lingerForPeer(this.#socket, peer, this.#times.linger);
    }
    return this.#gone.promise;
  }

  destroy(): void {
    if (this.#state === 'open') {
      this.#sender.close(CLOSE_CODE.goingAway);
      this.#lossReason = 'ended by the server';
      this.#state = 'lost';
    }
    this.#input.discard();
    this.#socket.destroy();
  }

  #makeParser(): FrameParser {
    const channels = new ChannelReader(this.#subprotocol, this.#streams.stdin, {
      stdin: (piece) => this.#state === 'open' && this.#input.push(piece),
      stdinEof: () => this.#state === 'open' && this.#input.eof(),
      resize: (size) => this.#resize(size.columns, size.rows),
      malformed: (reason) => this.#fail(CLOSE_CODE.protocolError, reason),
    });
    const events: FrameEvents = {
      messageStart: () => channels.messageStart(),
      messagePiece: (piece) => channels.messagePiece(piece),
      messageEnd: () => channels.messageEnd(),
      ping: (payload) => this.#state === 'open' && this.#sender.answer(payload),
      pong: (payload) => this.#ponged(payload),
      close: (code) => this.#clientClosed(code),
      failed: (code, reason) => this.#fail(code, reason),
    };
    return new FrameParser(events, MAX_MESSAGE_BYTES[this.#subprotocol.encoding]);
  }

  #read(chunk: Buffer): void {
    this.#keepalive.heard();
    this.#parser.push(chunk);
    this.#input.flush();
    if (this.#input.bytes <= MAX_PENDING_INPUT_BYTES || this.#state !== 'open') return;
    this.#reading = false;
    this.#socket.pause();
    this.#keepalive.unread();
    this.#flow.suspend();
  }

  #readOn(): void {
    this.#reading = true;
    this.#keepalive.read();
    this.#flow.resume();
    this.#socket.resume();
  }

  /** Overtakes input that waits for the container, but not input that need not wait. */
  #resize(columns: number, rows: number): void {
    if (this.#state !== 'open') return;
    this.#input.flush();
    this.#handlers?.resize({ columns, rows });
  }

  /** The session may write again once neither the socket nor the pace holds it back. */
  #room(): void {
    if (this.#sender.full || this.#flow.closed) return;
    if (!this.#wantsDrain || this.#handlers === undefined || this.#state !== 'open') return;
    this.#wantsDrain = false;
    this.#handlers.drain();
  }

  #ponged(payload: Uint8Array): void {
    this.#hasReadAll ||= LAST_PING.equals(payload);
    this.#flow.pong(payload);
  }

  #clientClosed(code: number | undefined): void {
    if (this.#state === 'open') {
      this.#sender.close(code);
      this.#lost(`client closed with ${code ?? 'no code'}`);
    }
    this.#socket.end();
    destroyWhenWritten(this.#socket);
  }

  #fail(code: number, reason: string): void {
    if (this.#state !== 'open') return;
    this.#sender.close(code, reason);
    this.#lost(`client broke the protocol: ${reason}`);
  }

  #lost(reason: string): void {
    if (this.#state !== 'open') return;
    this.#state = 'lost';
    this.#lossReason = reason;
    this.#stop();
    linger(this.#socket, this.#times.linger);
    this.#input.close(this.#lossReason);
  }

  /** No more output behind what is queued, and input flows again so that nothing unread turns the end into a reset. */
  #stop(): void {
    this.#keepalive.stop();
    this.#readOn();
    this.#sender.flush();
  }

  #socketClosed(): void {
    this.#keepalive.stop();
    const finishing = this.#state === 'finishing';
    this.#state = 'closed';
    if (!finishing && this.#handlers !== undefined) this.#input.close(this.#lossReason);
    this.#gone.resolve();
  }
}
