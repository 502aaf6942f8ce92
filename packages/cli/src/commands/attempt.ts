// One of several things that a command was asked to do: what fails is told, and does not save the others.
import { CliError, isRpcError, sentenceOf } from '../errors.ts';
import { EXIT } from '../exit-codes.ts';
import { complain, print } from '../output/print.ts';

/**
 * Does it, and prints what it gives, a name or an id. A refusal becomes a line on stderr and the failure's status, for the end.
 * @throws what is no refusal: without a daemon the others would fail too
 */
export async function attempt(act: () => Promise<string | undefined>): Promise<number> {
  try {
    const done = await act();
    if (done !== undefined) print(`${done}\n`);
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof CliError) && !(isRpcError(error) && error.code !== undefined)) throw error;
    complain(`berth: ${sentenceOf(error)}`);
    return EXIT.failure;
  }
}
