/** Doing much, but not all of it at once. */
import { allSettled } from './wait.ts';

/** Runs `action` for every item, at most `limit` at one time. Rejects with the first failure, after those under way have settled. */
export async function forEachBounded<T>(items: Iterable<T>, limit: number, action: (item: T) => Promise<void>): Promise<void> {
  const iterator = items[Symbol.iterator]();
  let failed = false;
  const worker = async (): Promise<void> => {
    for (let next = iterator.next(); next.done !== true && !failed; next = iterator.next()) {
      try {
        await action(next.value);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  await allSettled(Array.from({ length: limit }, worker));
}
