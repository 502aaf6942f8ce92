/** The newest output of an attached container, contiguous, shared by all its cursors: they keep positions, the buffer keeps the bytes. */

export type LiveChunk = {
  /** Of all bytes, unless there are `streams`. */
  readonly stream: 1 | 2;
  readonly offset: number;
  data: Buffer;
  /** Bytes that it holds in all, room that is not used yet and overhead included. */
  cost: number;
  /** The stream of each byte, where small pieces of both were gathered. */
  streams?: Uint8Array;
};

/** What a chunk costs beside its bytes (objects, backing store): without it, output in single bytes would take a hundred times its size. */
const CHUNK_OVERHEAD_BYTES = 256;
/** Small pieces of both streams are gathered in slabs of this size, so that a container that writes byte by byte costs what it writes. */
const SLAB_BYTES = 4096;

export class LiveBuffer {
  /** Chunks in order; those before `#shifted` are gone. Compacted now and then. */
  #chunks: (LiveChunk | undefined)[] = [];
  #shifted = 0;
  /** Number of the chunk at index 0 of `#chunks`. */
  #base = 0;
  #cost = 0;
  #slab: Buffer | undefined;
  #slabUsed = 0;
  #tail: number;
  #head: number;

  constructor(offset: number) {
    this.#tail = offset;
    this.#head = offset;
  }

  /** Offset of the oldest byte held. */
  get tail(): number {
    return this.#tail;
  }

  /** Offset of the next byte to come. */
  get head(): number {
    return this.#head;
  }

  /** Bytes and overhead held. */
  get cost(): number {
    return this.#cost;
  }

  get nextNumber(): number {
    return this.#base + this.#chunks.length;
  }

  chunk(number: number): LiveChunk | undefined {
    return this.#chunks[number - this.#base];
  }

  /** Takes the next bytes; `offset` must be `head`. The data is kept, not copied, unless it is small. */
  push(stream: 1 | 2, offset: number, data: Buffer): void {
    this.#head = offset + data.length;
    if (data.length <= SLAB_BYTES / 4 && this.#append(stream, data)) return;
    this.#slab = undefined;
    let kept = data;
    let held = data.length;
    if (data.length <= SLAB_BYTES / 4) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      data.copy(this.#slab);
      this.#slabUsed = data.length;
      kept = this.#slab.subarray(0, data.length);
      held = SLAB_BYTES;
    }
    const cost = held + CHUNK_OVERHEAD_BYTES;
    this.#chunks.push({ stream, offset, data: kept, cost });
    this.#cost += cost;
  }

  /** Drops the oldest chunks until at most `cost` is held (always keeping the newest chunk). */
  trimToCost(cost: number): void {
    while (this.#cost > cost && this.#chunks.length - this.#shifted > 1) this.#shift();
  }

  /** Drops the chunks that lie wholly below an offset. */
  trimToOffset(offset: number): void {
    for (;;) {
      const oldest = this.#chunks[this.#shifted];
      if (oldest === undefined || oldest.offset + oldest.data.length > offset) return;
      this.#shift();
    }
  }

  /** Drops everything: what comes next has this offset. */
  reset(offset: number): void {
    this.#base = this.nextNumber;
    this.#chunks = [];
    this.#shifted = 0;
    this.#cost = 0;
    this.#slab = undefined;
    this.#tail = offset;
    this.#head = offset;
  }

  /** Number of the chunk that holds a byte of the buffer. For the head the newest chunk's: it may still grow. */
  find(offset: number): number {
    let low = this.#shifted;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const chunk = this.#chunks[middle];
      if (chunk !== undefined && chunk.offset + chunk.data.length > offset) high = middle;
      else low = middle + 1;
    }
    if (low === this.#chunks.length && low > this.#shifted) low -= 1;
    return this.#base + low;
  }

  /** Adds to the slab of the newest chunk. Views handed out before stay what they were: they end before the new bytes. */
  #append(stream: 1 | 2, data: Buffer): boolean {
    const newest = this.#chunks.at(-1);
    const used = this.#slabUsed;
    if (newest === undefined || this.#slab === undefined || used + data.length > SLAB_BYTES) return false;
    if (newest.streams === undefined && newest.stream !== stream) {
      newest.streams = new Uint8Array(SLAB_BYTES).fill(newest.stream, 0, used);
      newest.cost += SLAB_BYTES;
      this.#cost += SLAB_BYTES;
    }
    newest.streams?.fill(stream, used, used + data.length);
    data.copy(this.#slab, used);
    this.#slabUsed = used + data.length;
    newest.data = this.#slab.subarray(0, this.#slabUsed);
    return true;
  }

  #shift(): void {
    const oldest = this.#chunks[this.#shifted];
    if (oldest === undefined) return;
    this.#cost -= oldest.cost;
    this.#tail = oldest.offset + oldest.data.length;
    this.#chunks[this.#shifted] = undefined;
    this.#shifted += 1;
    if (this.#shifted === this.#chunks.length) this.#slab = undefined;
    if (this.#shifted >= 1024 && this.#shifted * 2 >= this.#chunks.length) {
      this.#chunks.splice(0, this.#shifted);
      this.#base += this.#shifted;
      this.#shifted = 0;
    }
  }
}

/** What of a chunk comes next: the bytes from an offset on that belong to one stream. */
export function run({ stream, offset, data, streams }: LiveChunk, from: number): { readonly stream: 1 | 2; readonly data: Buffer } {
  const start = from - offset;
  if (streams === undefined) return { stream, data: start === 0 ? data : data.subarray(start) };
  const of = streams[start];
  let end = start + 1;
  while (end < data.length && streams[end] === of) end += 1;
  return { stream: of === 1 ? 1 : 2, data: data.subarray(start, end) };
}
