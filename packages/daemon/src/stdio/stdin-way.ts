/** How input gets to a container: straight into its pipe while the container reads, through the shim's queue when it does not or cannot be. */
import { PIPE_WINDOW_BYTES, type PipeOffer, StdinPipe } from './stdin-pipe.ts';

/** The shim's end of it. */
export type ShimStdin = {
  send(chunk: Uint8Array): void;
  sendClose(): void;
  /** Bytes in the shim's queue. */
  queued(): Promise<number>;
  /** The caller may write again. */
  ready(): void;
};

/**
 * One way at a time, so that nothing overtakes. What the pipe has not taken goes back to the shim when the container takes nothing for a while,
 * when stdin is to be closed, and when the daemon leaves: the shim keeps it whatever becomes of the daemon.
 */
export class StdinWay {
  readonly #shim: ShimStdin;
  #route: 'pipe' | 'shim' | 'asking' = 'shim';
  #offer: PipeOffer | undefined;
  #pipe: StdinPipe | undefined;
  /** What the shim's queue takes. */
  #credit = 0;

  constructor(shim: ShimStdin) {
    this.#shim = shim;
  }

  /**
   * @param credit what the shim's queue takes, bytes
   * @param offer the pipe, while the shim has nothing to write to it
   */
  begin(credit: number, offer: PipeOffer | undefined): void {
    this.#credit = credit;
    this.#offer = offer;
    if (offer !== undefined) this.#route = 'pipe';
  }

  /** Bytes that may be written now. */
  get credit(): number {
    if (this.#route === 'asking') return 0;
    return this.#route === 'shim' ? this.#credit : (this.#pipe?.room ?? PIPE_WINDOW_BYTES);
  }

  /** Bytes that wait here. */
  get queued(): number {
    return this.#pipe?.queued ?? 0;
  }

  /** The caller keeps to the credit; the memory is its own again once the event loop goes on. */
  write(chunk: Uint8Array): void {
    const pipe = this.#openPipe();
    if (pipe === undefined) this.#send(chunk);
    else pipe.write(chunk);
  }

  /** Closes stdin after all that was written. */
  close(): void {
    this.leavePipe();
    this.#shim.sendClose();
  }

  /** The shim's queue is the only way from now on; it gets what the pipe has not taken. */
  leavePipe(): void {
    this.#handBack();
    this.#offer = undefined;
  }

  /** The shim takes more; once it has nothing left to write, the pipe is the way again. */
  credited(bytes: number): void {
    this.#credit += bytes;
    if (this.#route !== 'shim' || this.#offer === undefined) return this.#shim.ready();
    // Nothing is sent meanwhile, so that an empty queue is still empty when the answer comes.
    this.#route = 'asking';
    this.#shim.queued().then(
      (queued) => {
        if (this.#route !== 'asking') return;
        this.#route = queued === 0 ? 'pipe' : 'shim';
        this.#shim.ready();
      },
      () => {
        this.drop();
        this.#shim.ready();
      },
    );
  }

  /** What the pipe has not taken goes to the shim, which keeps it. */
  #handBack(): void {
    const rest = this.#pipe?.takeBack() ?? [];
    this.#pipe = undefined;
    this.#route = 'shim';
    for (const chunk of rest) this.#send(chunk);
  }

  /** Nobody reads stdin any more, or the shim has gone. */
  drop(): void {
    this.#pipe?.close();
    this.#pipe = undefined;
    this.#offer = undefined;
    this.#route = 'shim';
  }

  #send(chunk: Uint8Array): void {
    this.#credit -= chunk.length;
    this.#shim.send(chunk);
  }

  #openPipe(): StdinPipe | undefined {
    if (this.#route !== 'pipe' || this.#offer === undefined) return undefined;
    this.#pipe ??= StdinPipe.open(this.#offer, {
      room: () => this.#shim.ready(),
      stuck: () => {
        this.#handBack();
        this.#shim.ready();
      },
      // What waited is lost. That nobody reads any more the shim finds out too; after any other error nothing may follow the hole.
      broken: () => {
        this.drop();
        this.#shim.sendClose();
        this.#shim.ready();
      },
    });
    if (this.#pipe === undefined) this.drop();
    return this.#pipe;
  }
}
