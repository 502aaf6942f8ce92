// Puts what one connection sends onto its socket: large pieces as they are, small ones together, and more of them while the peer is slow.

import { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';

/** What is shorter is copied into one write with what it belongs to: cheaper than a write of several parts. */
const SMALL_BYTES = 4 * 1024;
/**
 * Small writes that wait for those before them are put together by so many, or so many bytes: a queued write costs some hundred bytes
 * however short it is, and a container that writes single bytes fills a queue that counts bytes with tens of thousands.
 */
const GATHERED_WRITES = 128;
const GATHERED_BYTES = 16 * 1024;

/** The only one that writes to its socket, behind what was written before. Whoever ends the socket calls `flush` first. */
export class SocketWriter {
  readonly #socket: Socket;
  /** Our writes that the kernel has not taken; the last of them sends what was gathered meanwhile. */
  #underWay = 0;
  #gathered: Uint8Array[] = [];
  #gatheredBytes = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Bytes that wait in this process. */
  get queued(): number {
    return this.#socket.writableLength + this.#gatheredBytes;
  }

  /** Sends parts that belong together; takes them as they are, never changes them. Nothing is sent once the socket has been ended. */
  write(parts: readonly Uint8Array[]): void {
    if (!this.#socket.writable) return;
    const bytes = parts.reduce((sum, { length }) => sum + length, 0);
    if (bytes >= SMALL_BYTES) {
      this.flush();
      this.#send(parts);
    } else if (this.#underWay === 0) this.#send([joined(parts, bytes)]);
    else this.#gather(joined(parts, bytes));
  }

  /** Hands on what has been gathered. */
  flush(): void {
    if (this.#gatheredBytes === 0) return;
    const bytes = joined(this.#gathered, this.#gatheredBytes);
    this.#gathered = [];
    this.#gatheredBytes = 0;
    if (this.#socket.writable) this.#send([bytes]);
  }

  #gather(piece: Uint8Array): void {
    this.#gathered.push(piece);
    this.#gatheredBytes += piece.length;
    if (this.#gathered.length >= GATHERED_WRITES || this.#gatheredBytes >= GATHERED_BYTES) this.flush();
  }

  #send(parts: readonly Uint8Array[]): void {
    const last = parts.length - 1;
    this.#underWay += 1;
    if (last > 0) this.#socket.cork();
    parts.forEach((part, i) => {
      if (i < last) this.#socket.write(part);
      else this.#socket.write(part, this.#taken);
    });
    if (last > 0) this.#socket.uncork();
  }

  readonly #taken = (): void => {
    this.#underWay -= 1;
    if (this.#underWay === 0) this.flush();
  };
}

function joined(parts: readonly Uint8Array[], bytes: number): Uint8Array {
  return parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts, bytes);
}
