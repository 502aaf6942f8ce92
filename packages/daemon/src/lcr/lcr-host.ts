/** What every part of the LCR runtime works with: settings, facts about the host, log. */
import type { Config } from '../config/config.ts';
import type { Log } from '../util/log.ts';
import type { HostFacts } from './host-facts.ts';
import type { Run } from './spawn.ts';

export type LcrHost = {
  readonly config: Config;
  readonly facts: HostFacts;
  readonly log: Log;
  /** Cgroup directories that shims move themselves into; empty where the daemon has no cgroup of its own. */
  readonly shimCgroups: readonly string[];
  /** Starts programs while others are served. */
  readonly run: Run;
};
