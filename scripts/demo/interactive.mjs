/** The demo at a terminal: a pod, a container, and you at its init process. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { root } from '../setup/paths.mjs';
import { Interruption } from './interruption.mjs';
import { PrivateDaemon } from './private-daemon.mjs';

const interruption = new Interruption();
const daemon = new PrivateDaemon();
let code = 1;
try {
  await daemon.start();
  if (interruption.signal === undefined) {
    console.log('You are about to hold the terminal of a container: its shell is process 1 in there.');
    console.log('Try `ps`, `tty`, ctrl-C, resizing the window. `exit` ends the container; ctrl-p ctrl-q leaves it.\n');
    code = await sit();
    console.log(`\nThe session is over (status ${code}); cleaning up.`);
  } else {
    console.log(`Ended by ${interruption.signal}; cleaning up.`);
  }
} finally {
  await daemon.close();
}
process.exit(code);

/** The session; gives its status. Signals end it. */
async function sit() {
  // Ctrl-C belongs to the shell in the container; this process goes on until that has ended and everything is cleaned up.
  interruption.ignored = ['SIGINT', 'SIGQUIT'];
  const where = ['--socket', daemon.socket];
  // Without --rm: what is left goes with the demo's daemon.
  const options = ['-i', '-t', '--log-dir', daemon.logs, '--name', 'demo'];
  const berth = spawn(join(root, 'bin/berth'), [...where, 'run', ...options, 'berth.local/busybox', 'sh'], { stdio: 'inherit' });
  interruption.heard = (signal) => berth.kill(signal);
  return await new Promise((resolve) => berth.once('exit', (status) => resolve(status ?? 1)));
}
