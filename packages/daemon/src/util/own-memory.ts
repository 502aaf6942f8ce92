/** What waits must not keep the memory that it came in: a socket's read is 64 KiB, and one byte of it would keep them all. */

/**
 * Pieces below this are copied even where they are handed on at once, since a slow receiver's socket keeps them in a queue of its own: four
 * of these fill what Node lets wait there. From here on copying would be felt, and keeps no more than four times the piece.
 */
const SHORT_PIECE_BYTES = 16 * 1024;

/** For a piece that is to wait: itself, or a copy where it is less than half of the memory it lies in. */
export function ownMemory<T extends Uint8Array>(piece: T): T | Buffer {
  return piece.length * 2 >= piece.buffer.byteLength ? piece : copied(piece);
}

/** For a piece of memory that somebody else will write to again. */
export function copied(piece: Uint8Array): Buffer {
  // Not from Node's pool, where it would again keep what lies beside it.
  const own = Buffer.allocUnsafeSlow(piece.length);
  own.set(piece);
  return own;
}

/** For a piece that is handed on at once: a long one goes as it is. */
export function ownMemoryIfShort(piece: Buffer): Buffer {
  return piece.length < SHORT_PIECE_BYTES ? ownMemory(piece) : piece;
}
