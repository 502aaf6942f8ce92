/** What `bin/berthd` gives Node: tests and benchmark run the daemon's sources as users run the daemon, or its memory would be another one's. */
import { readFileSync } from 'node:fs';

const LAUNCHER = new URL('../../../../bin/berthd', import.meta.url);

/** Node's options, in order. @throws Error when the launcher has changed beyond recognition */
export function launcherOptions(): readonly string[] {
  const line = /^exec "\$node" (.*)"\$root/m.exec(readFileSync(LAUNCHER, 'utf8'));
  if (line === null) throw new Error(`${LAUNCHER.pathname}: no line that starts Node`);
  return (line[1] ?? '').split(' ').filter((word) => word !== '');
}
