// What `run --rm` says when it ends without having removed its container.
import { complain } from '../output/print.ts';

/** A container that is to be removed. Unless it is `gone`, a line on stderr says so when this is disposed of or the process exits. */
export type LeftBehind = Disposable & { gone(): void };

/** Covers detaching, failures of all kinds and a second signal: nothing that --rm was to remove stays without a word. */
export function leftBehind(name: string): LeftBehind {
  let there = true;
  const say = (): void => {
    if (there) complain(`berth: the container remains; remove it later with: berth rm -f ${name}`);
    gone();
  };
  const gone = (): void => {
    there = false;
    process.off('exit', say);
  };
  process.on('exit', say);
  return { gone, [Symbol.dispose]: say };
}
