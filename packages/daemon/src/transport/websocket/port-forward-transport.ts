// Port-forward over WebSocket as kubelets before the tunnel spoke it: for the call's port i, channel 2i has the data both ways and channel
// 2i + 1 the error; the first message of both is the port (2 bytes, little-endian). One connection for each port, made at once.
// Source: Kubernetes' cri-streaming, portforward/websocket.go.

import { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import { Deadline } from '../../util/deadline.ts';
import { readIntoFreshMemory } from '../read-memory.ts';
import type { PortForwardHandlers, PortForwardTransport } from '../port-forward.ts';
import { LOST_CLIENT_INPUT_MS, MAX_PENDING_INPUT_BYTES } from '../limits.ts';
import { CLOSE_CODE, MAX_MESSAGE_BYTES } from './constants.ts';
import { type FrameEvents, FrameParser } from './frame-parser.ts';
import { KEEPALIVE_TIMES, Keepalive, type KeepaliveTimes } from './keepalive.ts';
import { destroyWhenWritten, LINGER_TIMES, type LingerTimes, linger } from '../linger.ts';
import { MessageSender } from './message-sender.ts';
import { PortChannel } from './port-channel.ts';
import { PortChannels } from './port-channels.ts';

/** An upgraded connection: the 101 has been written to the socket. */
export type ForwardConnection = {
  readonly socket: Socket;
  /** What came behind the request in the same packet. */
  readonly head: Buffer;
  readonly protocol: { readonly name: string; readonly encoding: 'binary' | 'base64' };
  /** Of the call: the protocol cannot name any. */
  readonly ports: readonly number[];
};

/** Waiting times, by tests only. */
export type ForwardTimes = {
  readonly keepalive: KeepaliveTimes;
  readonly linger: LingerTimes;
  readonly lostInputMs: number;
  readonly quietMs: number;
};

/**
 * How long no input may come before the connection ends, once all programs have ended their halves. The protocol cannot say that a half
 * has ended: a client hears of it by the end of the connection only, and one that is still sending must not lose what it sends.
 */
const QUIET_MS = 1_000;

const TIMES: ForwardTimes = {
  keepalive: KEEPALIVE_TIMES,
  linger: LINGER_TIMES,
  lostInputMs: LOST_CLIENT_INPUT_MS,
  quietMs: QUIET_MS,
};

/** A channel is one byte; in the base64 protocol one ASCII character from `0` on. */
const MAX_PORTS = { binary: 128, base64: 40 } as const;

/**
 *   open --finish(), all programs have ended, no ports--> ending --client closes, or takes nothing--> leaving
 *    +--client's close frame or FIN--> leaving --its input is taken--> closed
 *    +--fault, loss, destroy()--> lost --> closed
 *
 * `ending`: our close frame is on its way. `leaving`: what the client has sent is handed on with its end, output is thrown away.
 */
type State = 'open' | 'ending' | 'leaving' | 'lost' | 'closed';

export class PortForwardWebSocket implements PortForwardTransport {
  readonly protocol: string;
  readonly #socket: Socket;
  readonly #times: ForwardTimes;
  readonly #sender: MessageSender;
  readonly #parser: FrameParser;
  readonly #ports: readonly PortChannel[];
  readonly #channels: PortChannels;
  readonly #keepalive: Keepalive;
  readonly #gone = Promise.withResolvers<void>();
  /** Why it cannot be served at all. */
  readonly #refusal: string | undefined;
  #handlers: PortForwardHandlers | undefined;
  #state: State = 'open';
  #reading = true;
  /** `closed` has been said, or is not to be. */
  #told = false;
  #reason = 'connection lost';
  /** Channels whose output waits for room, the one that has waited longest first. */
  #writers: (() => void)[] = [];
  #quiet: Deadline | undefined;
  #leaving: NodeJS.Timeout | undefined;

  constructor({ socket, head, protocol, ports }: ForwardConnection, times: ForwardTimes = TIMES) {
    this.protocol = protocol.name;
    this.#socket = socket;
    this.#times = times;
    this.#sender = new MessageSender(socket, protocol);
    const most = MAX_PORTS[protocol.encoding];
    if (ports.length === 0) this.#refusal = 'the call named no port, and this protocol cannot';
    else if (ports.length > most) this.#refusal = `this protocol has room for ${most} ports`;
    const wire = {
      send: (channel: PortChannel, chunk: Buffer, taken: () => void) => this.#send(channel, chunk, taken),
      changed: () => this.#changed(),
    };
    this.#ports = this.#refusal === undefined ? ports.map((port, index) => new PortChannel(port, index, wire)) : [];
    this.#channels = new PortChannels(this.#ports, protocol.encoding);
    this.#parser = this.#makeParser(protocol.encoding);
    this.#keepalive = new Keepalive(socket, { sender: this.#sender, sign: 'ping' }, times.keepalive, times.lostInputMs, () =>
      this.#giveUp(),
    );
    socket.setNoDelay(true);
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#reason = `connection lost: ${error.code ?? error.message}`;
    });
    socket.once('close', () => this.#socketClosed());
    socket.on('drain', () => this.#drained());
    if (head.length > 0) socket.unshift(head);
    for (const { port, index } of this.#ports) {
      const number = Buffer.alloc(2);
      number.writeUInt16LE(port);
      this.#sender.message(2 * index, number);
      this.#sender.message(2 * index + 1, number);
    }
  }

  start(handlers: PortForwardHandlers): void {
    this.#handlers = handlers;
    this.#socket.on('data', (chunk: Buffer) => this.#read(chunk));
    this.#socket.once('end', () => this.#leave('client went away'));
    // Lost before the session was ready: said as any other loss, and not from within this call.
    if (this.#socket.destroyed) return queueMicrotask(() => this.#tell());
    if (this.#refusal !== undefined) return this.#close(CLOSE_CODE.policyViolation, this.#refusal);
    for (const channel of this.#ports) {
      handlers.connection({ port: channel.port, data: channel, fail: (message) => this.#failed(channel, message) });
    }
  }

  finish(): Promise<void> {
    this.#told = true;
    if (this.#state === 'open') this.#close(CLOSE_CODE.normal);
    this.#destroyChannels();
    return this.#gone.promise;
  }

  destroy(): void {
    if (this.#state === 'open') {
      this.#sender.close(CLOSE_CODE.goingAway);
      this.#reason = 'ended by the server';
      this.#state = 'lost';
    }
    this.#destroyChannels();
    this.#socket.destroy();
  }

  #makeParser(encoding: ForwardConnection['protocol']['encoding']): FrameParser {
    const events: FrameEvents = {
      messageStart: () => this.#channels.messageStart(),
      messagePiece: (piece) => this.#state === 'open' && this.#channels.messagePiece(piece),
      messageEnd: () => this.#state === 'open' && this.#channels.messageEnd(),
      ping: (payload) => this.#sender.answer(payload),
      pong: () => undefined,
      close: (code) => this.#clientClosed(code),
      failed: (code, reason) => this.#broken(code, reason),
    };
    return new FrameParser(events, MAX_MESSAGE_BYTES[encoding]);
  }

  #read(chunk: Buffer): void {
    this.#keepalive.heard();
    this.#parser.push(chunk);
    readIntoFreshMemory(chunk.length);
    // Input is a sign that the client does not wait for an end yet.
    if (this.#channels.flush()) this.#quiet?.refresh();
    if (this.#state !== 'open' || this.#ports.every(({ pending }) => pending <= MAX_PENDING_INPUT_BYTES)) return;
    this.#reading = false;
    this.#socket.pause();
    this.#keepalive.unread();
  }

  #readOn(): void {
    this.#reading = true;
    this.#keepalive.read();
    this.#socket.resume();
  }

  #send(channel: PortChannel, chunk: Buffer, taken: () => void): void {
    if (!this.#isSending) return taken();
    this.#sender.message(2 * channel.index, chunk);
    if (this.#sender.full) this.#writers.push(taken);
    else taken();
  }

  /** What is written to a client that has gone would cost the input that it has left behind. */
  get #isSending(): boolean {
    return this.#state === 'open' && !this.#keepalive.peerEnded;
  }

  #drained(): void {
    while (this.#writers.length > 0 && (this.#state !== 'open' || !this.#sender.full)) this.#writers.shift()?.();
  }

  #failed(channel: PortChannel, message: string): void {
    if (channel.destroyed) return;
    if (this.#isSending) this.#sender.message(2 * channel.index + 1, Buffer.from(message));
    channel.destroyTold();
  }

  /** A channel was read, has ended a half, is gone. */
  #changed(): void {
    if (!this.#reading && this.#ports.every(({ pending }) => pending <= MAX_PENDING_INPUT_BYTES / 2)) this.#readOn();
    if (this.#state === 'leaving') this.#leaveOn();
    else if (this.#state === 'open' && this.#ports.every(({ outputEnded }) => outputEnded)) {
      if (this.#ports.every(({ destroyed }) => destroyed)) this.#allEnded();
      else this.#quiet ??= new Deadline(this.#times.quietMs, () => this.#allEnded());
    }
  }

  #allEnded(): void {
    if (this.#state !== 'open') return;
    this.#reason = 'all forwarded connections have ended';
    // The channels themselves have no way to say it.
    if (this.#ports.some(({ cutOff }) => cutOff)) this.#close(CLOSE_CODE.internalError, 'a program has reset its connection');
    else this.#close(CLOSE_CODE.normal);
    for (const channel of this.#ports) channel.endInput();
  }

  #clientClosed(code: number | undefined): void {
    if (this.#state === 'open') {
      this.#sender.close(code);
      this.#leave(`client closed with ${code ?? 'no code'}`);
    }
    destroyWhenWritten(this.#socket);
  }

  #broken(code: number, reason: string): void {
    if (this.#state !== 'open') return;
    this.#reason = `client broke the protocol: ${reason}`;
    this.#close(code, reason);
    this.#destroyChannels();
    this.#tell();
  }

  /** No more output: close frame, FIN behind what is queued, and input flows so that nothing unread turns the end into a reset. */
  #close(code: number, reason?: string): void {
    this.#state = 'ending';
    this.#sender.close(code, reason);
    if (reason !== undefined) this.#reason = reason;
    this.#end();
  }

  #end(): void {
    this.#quiet?.cancel();
    this.#keepalive.stop();
    this.#readOn();
    this.#sender.flush();
    linger(this.#socket, this.#times.linger);
    // Whoever waits for room is let go: nothing more is sent.
    this.#drained();
  }

  /** The only end of input that there is: handed on as one, behind the input. */
  #leave(reason: string): void {
    if (this.#state !== 'open') return;
    this.#reason = reason;
    this.#end();
    this.#handOnInput();
  }

  /** The client has gone, and nobody has read its input in time: what is cut off must not look like an end. */
  #giveUp(): void {
    if (this.#state !== 'open') return;
    this.#reason = 'client went away';
    this.#state = 'lost';
    this.#end();
    this.#destroyChannels();
    this.#tell();
  }

  #handOnInput(): void {
    this.#state = 'leaving';
    this.#leaving = setTimeout(() => this.#left(), this.#times.lostInputMs);
    for (const channel of this.#ports) channel.endInput();
    this.#leaveOn();
  }

  #leaveOn(): void {
    if (this.#ports.every(({ readableEnded, destroyed }) => readableEnded || destroyed)) this.#left();
  }

  #left(): void {
    clearTimeout(this.#leaving);
    this.#state = this.#socket.destroyed ? 'closed' : 'lost';
    this.#destroyChannels();
    this.#tell();
  }

  #socketClosed(): void {
    this.#keepalive.stop();
    this.#quiet?.cancel();
    this.#gone.resolve();
    // A client that has left in order may be gone long before its input is taken.
    if (this.#state === 'leaving') return;
    if (this.#state === 'ending') return this.#handOnInput();
    this.#state = 'closed';
    this.#destroyChannels();
    this.#drained();
    this.#tell();
  }

  #tell(): void {
    if (this.#told || this.#handlers === undefined) return;
    this.#told = true;
    this.#destroyChannels();
    this.#handlers.closed(this.#reason);
  }

  #destroyChannels(): void {
    for (const channel of this.#ports) channel.destroy();
  }
}
