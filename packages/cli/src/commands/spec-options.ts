// The options by which `run` and `create` describe a container.
import { type Command, Option } from 'commander';
import { DEFAULT_LOG_DIR } from '../containers/make.ts';
import { collect } from './command.ts';

/** Adds them; they end at IMAGE, everything behind it belongs to the container. */
export function withSpecOptions(command: Command): Command {
  return command
    .option('-i, --interactive', "keep the container's stdin open, and attach to it")
    .option('-t, --tty', 'give the container a terminal')
    .option('--name <name>', 'name of the container and its pod (default: made from the image)')
    .option('-e, --env <KEY=VALUE>', 'set an environment variable; KEY alone passes on the value here', collect)
    .option('-w, --workdir <dir>', 'working directory in the container')
    .option('-u, --user <user>', 'NAME or UID, with :GID if wanted')
    .option('-v, --volume <SRC:DST[:ro]>', 'mount a host path; options: ro, rw, rprivate, rslave, rshared', collect)
    .addOption(new Option('--net <network>', "the host's network, or none but loopback").choices(['host', 'none']).default('none'))
    .option('--entrypoint <path>', "executed instead of the image's entrypoint")
    .option('--hostname <name>', 'host name in the container (default: its name)')
    .option('--privileged', 'all capabilities and devices, no seccomp, nothing masked')
    .option('--read-only', 'the root file system cannot be written')
    .addOption(
      new Option('--log-dir <dir>', "where the folder of the container's log is made")
        .env('BERTH_LOG_DIR')
        .default(DEFAULT_LOG_DIR),
    )
    .argument('<image>', 'name or id of an image: berth image ls')
    .argument('[command...]', "command and arguments, instead of the image's")
    .passThroughOptions();
}
