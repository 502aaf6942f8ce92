/** Signals to the demo: it ends between two steps, so that it always cleans up after itself. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'];

export class Interruption {
  /** The first signal that came. @type {NodeJS.Signals | undefined} */
  signal;
  /** Called with every signal. @type {(signal: NodeJS.Signals) => void} */
  heard = () => {};

  /** Signals that neither end the demo nor its process. @type {readonly string[]} */
  ignored = [];

  constructor() {
    for (const name of SIGNALS) {
      process.on(name, (signal) => {
        if (this.ignored.includes(signal)) return;
        this.signal ??= signal;
        this.heard(signal);
      });
    }
  }

  /** Throws once a signal has come. */
  check() {
    if (this.signal !== undefined) throw new Error(`interrupted by ${this.signal}`);
  }
}
