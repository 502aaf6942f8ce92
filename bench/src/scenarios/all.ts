/** Every scenario, in the order of the table. */
import type { Scenario } from '../scenario.ts';
import { execs } from './exec.ts';
import { fanOut } from './fan-out.ts';
import { latency } from './latency.ts';
import { portForward } from './port-forward.ts';
import { sessions } from './sessions.ts';
import { slowReader } from './slow-reader.ts';
import { spdy } from './spdy.ts';
import { memoryAtFirst, memoryAtLast, starting } from './starting.ts';
import { stdin } from './stdin.ts';
import { stdout } from './stdout.ts';

export const SCENARIOS: readonly Scenario[] = [
  memoryAtFirst,
  ...latency,
  ...stdout,
  stdin,
  spdy,
  ...fanOut,
  ...slowReader,
  portForward,
  ...sessions,
  ...execs,
  ...starting,
  memoryAtLast,
];
