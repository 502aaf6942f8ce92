// Gathers the small pieces of one socket read, so that they are handed on as one chunk.

import { Buffer } from 'node:buffer';

/** Pieces below this are gathered until the end of a socket read: a paste of single characters becomes one chunk. */
const SMALL_PIECE_BYTES = 1024;

/** Keeps the order only for who takes what has been gathered before handing on a piece that is not. */
export class SmallPieces {
  #gathered: Buffer[] = [];

  /** False: the piece is no small one, and the caller's. */
  gather(piece: Buffer): boolean {
    if (piece.length >= SMALL_PIECE_BYTES) return false;
    this.#gathered.push(piece);
    return true;
  }

  /** What has been gathered, as one chunk; undefined when that is nothing. */
  take(): Buffer | undefined {
    if (this.#gathered.length === 0) return undefined;
    const gathered = this.#gathered;
    this.#gathered = [];
    return gathered.length === 1 ? gathered[0] : Buffer.concat(gathered);
  }

  clear(): void {
    this.#gathered = [];
  }
}
