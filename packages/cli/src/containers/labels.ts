// Labels by which the command line knows what it has made itself.

export const LABELS = Object.freeze({
  /** On pods and containers that exist because of `berth run` or `berth create`: pod and log go with the container. */
  madeBy: 'io.berth.made-by',
  cli: 'cli',
} as const);
