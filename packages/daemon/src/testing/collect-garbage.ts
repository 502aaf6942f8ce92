/** Frees what nobody refers to, for tests of what is kept; also where Node was started without `--expose-gc`. */
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

export function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}

/** What is kept on the heap and in buffers, bytes; what the allocators hold back for later does not count. */
export async function keptBytes(): Promise<number> {
  // Buffers are swept behind the collection, and what their end lets go of goes with the next one.
  for (let i = 0; i < 4; i += 1) {
    collectGarbage();
    await sleep(25);
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
