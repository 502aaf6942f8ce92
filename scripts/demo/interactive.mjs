/** The demo at a terminal: a pod, a container, and you at its init process. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { root } from '../setup/paths.mjs';
import { PrivateDaemon } from './private-daemon.mjs';

const daemon = new PrivateDaemon();
let code = 1;
// ctrl-C belongs to the shell in the container; this process goes on until that has ended and everything is cleaned up.
process.on('SIGINT', () => {});
try {
  await daemon.start();
  console.log('You are about to hold the terminal of a container: its shell is process 1 in there.');
  console.log('Try `ps`, `tty`, ctrl-C, resizing the window. `exit` ends the container; ctrl-p ctrl-q leaves it.\n');
  const args = [
    '--socket',
    daemon.socket,
    'run',
    '-i',
    '-t',
    '--rm',
    '--log-dir',
    daemon.logs,
    '--name',
    'demo',
    'berth.local/busybox',
    'sh',
  ];
  const berth = spawn(join(root, 'bin/berth'), args, { stdio: 'inherit' });
  code = await new Promise((resolve) => berth.once('exit', (status) => resolve(status ?? 1)));
  console.log(`\nThe session is over (status ${code}); cleaning up.`);
} finally {
  await daemon.close();
}
process.exit(code);
