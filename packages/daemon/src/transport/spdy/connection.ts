// A SPDY connection as its server sees it: streams that the client opens, over any channel of bytes.

import { Buffer } from 'node:buffer';
import type { ByteChannel, FirstEnd } from '../byte-channel.ts';
import { LOST_CLIENT_INPUT_MS } from '../limits.ts';
import { OUTBOUND_HIGH_WATER } from '../transport.ts';
import { copied } from '../../util/own-memory.ts';
import { UnreadPeer } from '../unread-peer.ts';
import {
  GOAWAY_STATUS,
  MAX_LATE_PINGS,
  MAX_MORE_HEADERS,
  MAX_QUEUED_ANSWERS_BYTES,
  RST_STATUS,
  STREAMS_PER_TURN,
  UNREAD_SIGN_ID,
  UNREAD_SIGN_MS,
} from './constants.ts';
import { FrameParser } from './frame-parser.ts';
import { goAway, ping, rstStream, synReply } from './frames.ts';
import { HeaderDecoder, HeaderError, type Headers } from './header-decoder.ts';
import { HeaderEncoder } from './header-encoder.ts';
import { SpdyStream, type StreamWire } from './stream.ts';

/** What happens on a connection. */
export type ConnectionEvents = {
  /** The client opens a stream: it is to be accepted or reset before this returns. */
  stream(stream: SpdyStream): void;
  /** All that was read at once has been handed on. */
  flush(): void;
  /** Room again. */
  drain(): void;
  /** The client is gone, or has broken the protocol: nothing comes from its streams any more. Not said after `end`. */
  lost(reason: string): void;
  /** The last event. */
  closed(): void;
};

export type ConnectionOptions = {
  /** Streams at one time; more are refused. */
  readonly maxStreams: number;
  /** By tests only. */
  readonly unreadSignMs?: number;
  readonly lostInputMs?: number;
};

/**
 *   open --end()--> ending --the client closes, or takes nothing--> closed
 *    +--client's end or fault--> ending, `lost` is said ------------^
 *    +--loss, destroy()--> closed, `lost` is said
 */
type State = 'open' | 'ending' | 'closed';

const NO_HEADERS = [] as const;
const NOTHING = Buffer.alloc(0);

/** Sends nothing before the client's first frame: Go's client loses what comes in one packet with the 101. */
export class SpdyConnection {
  readonly #channel: ByteChannel;
  readonly #events: ConnectionEvents;
  readonly #maxStreams: number;
  readonly #unread: UnreadPeer;
  readonly #parser: FrameParser;
  readonly #decoder = new HeaderDecoder();
  readonly #encoder = new HeaderEncoder();
  readonly #streams = new Map<number, SpdyStream>();
  readonly #wire: StreamWire = {
    reply: (id) => this.#answer(synReply(id, this.#encoder.encode(NO_HEADERS))),
    send: (parts) => this.#channel.write(parts),
    reset: (id, status) => this.#answer(rstStream(id, status)),
    forget: (id) => this.#streams.delete(id),
  };
  #state: State = 'open';
  #lastId = 0;
  /** The client has said that it opens no more streams. */
  #goingAway = false;
  #moreHeaders = 0;
  #openedThisTurn = 0;
  /** Between turns a copy of what has been read and is not handed on yet, as many streams were opened in this turn. */
  #rest: Buffer = NOTHING;
  #latePings: number[] = [];
  #answersQueued = 0;

  constructor(channel: ByteChannel, options: ConnectionOptions, events: ConnectionEvents) {
    this.#channel = channel;
    this.#events = events;
    this.#maxStreams = options.maxStreams;
    this.#unread = new UnreadPeer(
      { signMs: options.unreadSignMs ?? UNREAD_SIGN_MS, lostInputMs: options.lostInputMs ?? LOST_CLIENT_INPUT_MS },
      {
        look: () => channel.peerState(),
        sign: () => void (this.full || channel.write([ping(UNREAD_SIGN_ID)])),
        gone: () => this.#lost('client went away'),
      },
    );
    this.#parser = new FrameParser({
      synStream: (frame) => this.#open(frame),
      headers: (frame) => this.#moreOf(frame),
      rstStream: (id) => this.#streams.get(id)?.receivedReset(),
      ping: (id) => this.#ping(id),
      goAway: () => {
        this.#goingAway = true;
      },
      data: (id, piece) => this.#streams.get(id)?.received(piece),
      fin: (id) => this.#streams.get(id)?.receivedEnd(),
      failed: (reason) => this.#fail(reason),
    });
  }

  /** As much waits as may stand in front of the answer to a ping. */
  get full(): boolean {
    return this.#channel.queued >= OUTBOUND_HIGH_WATER;
  }

  /** The channel has passed on everything that was sent. */
  get idle(): boolean {
    return this.#channel.queued === 0;
  }

  /** Bytes that the client's kernel has not acknowledged. */
  unsent(): Promise<number> {
    return this.#channel.unsent();
  }

  /** Streams that are open. */
  get streams(): number {
    return this.#streams.size;
  }

  start(): void {
    this.#channel.start({
      data: (chunk) => this.#read(chunk),
      drain: () => this.#drained(),
      ended: (reason) => {
        this.#readRest();
        this.#lost(reason);
      },
      closed: (reason) => {
        this.#readRest();
        this.#closed(reason);
      },
    });
  }

  /** Stops reading. A sign of life goes out now and then, as the client's pings are not answered. */
  pause(): void {
    if (this.#state !== 'open' || this.#unread.watching) return;
    this.#channel.pause();
    this.#unread.watch();
  }

  resume(): void {
    if (!this.#unread.watching) return;
    this.#unread.rest();
    if (this.#rest.length === 0) this.#channel.resume();
  }

  /** Ends gracefully: GOAWAY behind what is queued, and the channel ends in its own way; `theirs` where all streams have been ended. */
  end(first?: FirstEnd): void {
    this.#end(GOAWAY_STATUS.ok, first);
  }

  /** Ends at once. */
  destroy(): void {
    if (this.#state === 'open') this.#channel.write([goAway(this.#lastId, GOAWAY_STATUS.ok)]);
    this.#parser.stop();
    this.#channel.destroy();
  }

  #read(chunk: Buffer): void {
    if (this.#openedThisTurn >= STREAMS_PER_TURN) {
      this.#rest = Buffer.concat([this.#rest, chunk]);
      return;
    }
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#handOn();
  }

  #handOn(): void {
    const read = this.#rest;
    this.#rest = NOTHING;
    this.#rest = kept(this.#parser.push(read));
    if (this.#state !== 'open') return;
    this.#events.flush();
    // A stream has been opened in this turn, so that there is a next one.
    if (this.#rest.length > 0) this.#channel.pause();
  }

  #nextTurn(): void {
    this.#openedThisTurn = 0;
    if (this.#rest.length === 0) return;
    this.#handOn();
    if (this.#rest.length === 0 && !this.#unread.watching) this.#channel.resume();
  }

  /** All at once: the client has ended, and what it sent comes before that. */
  #readRest(): void {
    while (this.#rest.length > 0) this.#rest = this.#parser.push(this.#rest);
  }

  #open(frame: { readonly id: number; readonly fin: boolean; readonly unidirectional: boolean; readonly block: Buffer }): void {
    const headers = this.#decode(frame.block);
    if (headers === undefined) return;
    if (this.#openedThisTurn === 0) setImmediate(() => this.#nextTurn());
    this.#openedThisTurn += 1;
    if (this.#openedThisTurn >= STREAMS_PER_TURN) this.#parser.hold();
    const { id } = frame;
    if (id % 2 === 0 || id <= this.#lastId) return this.#fail('stream ids must be odd and grow');
    this.#lastId = id;
    if (this.#goingAway || this.#streams.size >= this.#maxStreams) return this.#answer(rstStream(id, RST_STATUS.refusedStream));
    const stream = new SpdyStream(id, headers, this.#wire, frame);
    this.#streams.set(id, stream);
    this.#events.stream(stream);
  }

  /** They are of no use, but the compression of all headers is one stream. */
  #moreOf({ id, fin, block }: { readonly id: number; readonly fin: boolean; readonly block: Buffer }): void {
    this.#moreHeaders += 1;
    if (this.#moreHeaders > MAX_MORE_HEADERS) return this.#fail('it sends headers for streams that are open');
    if (this.#decode(block) !== undefined && fin) this.#streams.get(id)?.receivedEnd();
  }

  #decode(block: Buffer): Headers | undefined {
    try {
      return this.#decoder.decode(block);
    } catch (error) {
      if (!(error instanceof HeaderError)) throw error;
      this.#fail(error.message);
      return undefined;
    }
  }

  /** Even ids would be ours, and we send none that is to be answered. */
  #ping(id: number): void {
    if (id % 2 === 0) return;
    if (!this.full) this.#answer(ping(id));
    else if (this.#latePings.length < MAX_LATE_PINGS) this.#latePings.push(id);
  }

  /** Sends a frame that a client can cause as often as it likes. */
  #answer(frame: Buffer): void {
    this.#answersQueued = this.#channel.queued === 0 ? frame.length : this.#answersQueued + frame.length;
    if (this.#answersQueued > MAX_QUEUED_ANSWERS_BYTES) return this.#fail('it reads none of the answers that it asks for');
    this.#channel.write([frame]);
  }

  #drained(): void {
    this.#answersQueued = 0;
    if (this.#state !== 'open') return;
    const late = this.#latePings;
    this.#latePings = [];
    for (const id of late) this.#answer(ping(id));
    this.#events.drain();
  }

  #fail(reason: string): void {
    if (this.#state !== 'open') return;
    this.#end(GOAWAY_STATUS.protocolError);
    this.#events.lost(`client broke the protocol: ${reason}`);
  }

  #lost(reason: string): void {
    if (this.#state !== 'open') return;
    this.#end(GOAWAY_STATUS.ok);
    this.#events.lost(reason);
  }

  #end(status: number, first?: FirstEnd): void {
    if (this.#state !== 'open') return;
    this.#channel.write([goAway(this.#lastId, status)]);
    this.#state = 'ending';
    this.#stop();
    this.#channel.end(first);
  }

  #closed(reason: string): void {
    if (this.#state === 'closed') return;
    const wasOpen = this.#state === 'open';
    this.#state = 'closed';
    this.#stop();
    if (wasOpen) this.#events.lost(reason);
    this.#events.closed();
  }

  #stop(): void {
    this.#unread.rest();
    this.#parser.stop();
    this.#rest = NOTHING;
    this.#streams.clear();
  }
}

/** The memory of a read is used again. */
const kept = (rest: Buffer): Buffer => (rest.length === 0 ? NOTHING : copied(rest));
