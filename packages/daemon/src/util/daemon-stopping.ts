/** What is said, by whichever room notices it, to who asks something of a daemon that is about to end. */
import { BerthError } from './errors.ts';

/** `DAEMON_STOPPING` */
export const daemonStopping = (): BerthError =>
  new BerthError('unavailable', 'DAEMON_STOPPING', 'the daemon is stopping; ask again when it is back, containers go on');
