// From what people type to one id: a whole id, a name, or the beginning of an id, in this order.
import { CliError } from '../errors.ts';

/** What can be named. */
export type Named = { readonly id: string; readonly metadata?: { readonly name: string } | undefined };

/**
 * The only thing that `reference` can mean; undefined when it means nothing.
 * @throws CliError when several have that name or beginning; it lists their ids.
 */
export function findNamed<T extends Named>(what: string, reference: string, all: readonly T[]): T | undefined {
  if (reference === '') return undefined;
  const exact = all.find(({ id }) => id === reference);
  if (exact !== undefined) return exact;
  const named = all.filter(({ metadata }) => metadata?.name === reference);
  const found = named.length > 0 ? named : all.filter(({ id }) => id.startsWith(reference));
  if (found.length <= 1) return found[0];
  const how = named.length > 0 ? 'are called' : 'have an id that begins with';
  throw new CliError(
    `${found.length} ${what}s ${how} "${reference}"; give one of these ids: ${found.map(({ id }) => id).join(', ')}`,
  );
}
