// The command line: which commands there are.
import { Command } from 'commander';
import { attachCommand } from './commands/attach.ts';
import { socketOption } from './commands/command.ts';
import { createCommand } from './commands/create.ts';
import { imageCommand } from './commands/image.ts';
import { infoCommand } from './commands/info.ts';
import { inspectCommand } from './commands/inspect.ts';
import { logsCommand } from './commands/logs.ts';
import { podsCommand } from './commands/pods.ts';
import { psCommand } from './commands/ps.ts';
import { rmCommand } from './commands/rm.ts';
import { runCommand } from './commands/run.ts';
import { sessionsCommand } from './commands/sessions.ts';
import { startCommand } from './commands/start.ts';
import { stopCommand } from './commands/stop.ts';
import { versionCommand } from './commands/version.ts';
import { BERTH_VERSION } from './version.ts';

const COMMANDS = [
  runCommand,
  attachCommand,
  createCommand,
  startCommand,
  psCommand,
  podsCommand,
  inspectCommand,
  logsCommand,
  stopCommand,
  rmCommand,
  sessionsCommand,
  imageCommand,
  versionCommand,
  infoCommand,
];

const EXAMPLES = `
Examples:
  berth image import alpine.tar --name alpine
  berth run -it --rm alpine
  berth run -d -i --name console alpine sh
  printf 'uname -a\\n' | berth attach console
  berth logs -f console

Exit status: the container's own, 0 to 255, of commands that run to its end; 125 when berth itself
failed; 126 and 127 when the container's command cannot be executed or is not there.
`;

/** `berth nosuch --help` would show the help of `berth`, as if there were such a command. */
function refuseUnknown(command: Command): string {
  const [name] = command.args;
  if (name === undefined || name.startsWith('-') || name === 'help' || command.commands.some((each) => each.name() === name))
    return '';
  return command.error(`unknown command '${name}'`);
}

/** Builds the whole command line. Errors of usage are thrown, as CommanderError. */
export function buildProgram(): Command {
  const program = new Command('berth')
    .description('Containers that you attach to')
    .version(BERTH_VERSION, '--version', 'print the version of berth')
    .helpOption('-h, --help', 'show help')
    .addOption(socketOption())
    .enablePositionalOptions()
    .addHelpText('after', EXAMPLES);
  for (const make of COMMANDS) program.addCommand(make());
  const settle = (command: Command): void => {
    command.exitOverride().configureOutput({ outputError: () => {} });
    if (command.commands.length > 0) command.addHelpText('before', () => refuseUnknown(command));
    for (const each of command.commands) settle(each);
  };
  settle(program);
  return program;
}
