// Labels by which the command line knows what it has made itself.

export const LABELS = Object.freeze({
  /** On pods and containers that exist because of `berth run` or `berth create`: pod and log go with the container. */
  madeBy: 'io.berth.made-by',
  cli: 'cli',
} as const);

/** The daemon's annotation for the first size of a container's terminal, `COLUMNSxROWS` (docs/attach.md). */
export const TERMINAL_SIZE_ANNOTATION = 'io.berth.terminal-size';
