// The program: argv in, exit status out.
import { CommanderError } from 'commander';
import { Interrupted } from './attach/exit-code.ts';
import { exitCodeOfError, sentenceOf } from './errors.ts';
import { EXIT } from './exit-codes.ts';
import { complain } from './output/print.ts';
import { visible } from './output/visible.ts';
import { buildProgram } from './program.ts';

async function main(): Promise<number> {
  const program = buildProgram();
  try {
    await program.parseAsync();
    return Number(process.exitCode ?? EXIT.ok);
  } catch (error) {
    if (error instanceof Interrupted) return endBy(error);
    if (error instanceof CommanderError) return usage(error);
    complain(`berth: ${sentenceOf(error)}`);
    if (process.env['BERTH_DEBUG'] !== undefined && error instanceof Error) complain(visible(error.stack ?? ''));
    return exitCodeOfError(error);
  }
}

function usage(error: CommanderError): number {
  // Help and version were asked for and have been printed.
  if (error.exitCode === 0) return EXIT.ok;
  // Help for want of a command: commander has printed it.
  if (error.code !== 'commander.help') complain(`berth: ${sentenceOf(error).replace(/^error: /, '')}; see: berth --help`);
  return EXIT.failure;
}

/** Ends as the signal would have ended it, now that everything is in order: shells and scripts tell that apart from an exit. */
function endBy(error: Interrupted): number {
  // SIGQUIT would leave a core file behind.
  if (error.signal === 'SIGQUIT') return error.exitCode;
  process.removeAllListeners(error.signal);
  process.kill(process.pid, error.signal);
  return error.exitCode;
}

process.exit(await main());
