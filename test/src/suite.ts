/** What most files of tests begin with. */
import { after } from 'node:test';
import { TestDaemon } from './daemon.ts';
import { type Pod, runPod } from './pods.ts';

/** A daemon and a pod for all tests of a file; they end with the file. */
export async function daemonWithPod(): Promise<{ readonly daemon: TestDaemon; readonly pod: Pod }> {
  await using stack = new AsyncDisposableStack();
  const daemon = stack.use(await TestDaemon.start());
  const pod = await runPod(daemon);
  // A file that fails before its first test runs no hooks.
  const owned = stack.move();
  after(async () => await owned.disposeAsync());
  return { daemon, pod };
}
