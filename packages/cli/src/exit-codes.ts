// What the exit status of `berth` says; the table for people stands in docs/cli.md.

/** Statuses of berth itself; commands that run a container otherwise end with the container's own, 0 to 255. As docker has them. */
export const EXIT = Object.freeze({
  ok: 0,
  /** Berth could not do what it was asked: wrong usage, no daemon, refused by the daemon, session lost. */
  failure: 125,
  /** The container's command is there but cannot be executed. */
  cannotExecute: 126,
  /** The container's command is not in the image. */
  commandNotFound: 127,
} as const);

/** Shells count a process that died of a signal this way: 130 is SIGINT, 141 a closed pipe. */
export const EXIT_SIGNAL_BASE = 128;
