/** Ids of pods and containers, and how a caller may abbreviate them. */
import { randomBytes } from 'node:crypto';
import { BerthError } from './errors.ts';

/** As long as other runtimes' ids: tools cut them to 12 or 13 digits and expect 64. */
const ID_BYTES = 32;
const ID_PATTERN = /^[0-9a-f]{64}$/;

/** A new id: 64 hex digits. */
export const newId = (): string => randomBytes(ID_BYTES).toString('hex');

/** What the daemon must say to a shim: 64 hex digits. */
export const newSecret = (): string => randomBytes(ID_BYTES).toString('hex');

/** Whether a directory name is an id that this daemon made. */
export const isId = (name: string): boolean => ID_PATTERN.test(name);

/**
 * Finds by id or unique id prefix. Gives undefined when there is none.
 * @throws BerthError `AMBIGUOUS_ID` when several begin with it.
 */
export function findById<T>(items: ReadonlyMap<string, T>, idOrPrefix: string, what: string): T | undefined {
  const exact = items.get(idOrPrefix);
  if (exact !== undefined || idOrPrefix === '') return exact;
  let found: T | undefined;
  for (const [id, item] of items) {
    if (!id.startsWith(idOrPrefix)) continue;
    if (found !== undefined)
      throw new BerthError('invalid-argument', 'AMBIGUOUS_ID', `several ${what}s have an id that begins with "${idOrPrefix}"`);
    found = item;
  }
  return found;
}
