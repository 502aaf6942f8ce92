/** A program besides init, in tests: says what its command says, and ends as it says. No process. */
import { constants } from 'node:os';
import { ExecFailed, type ExecStep, type ExitRecord, type Shim, type ShimListener, ShimLost } from '../stdio/shim.ts';
import { exitRecord } from './exit-record.ts';
import { FakeShim, WELCOME } from './fake-shim.ts';

const SIGKILL = 9;
const HELD_MS = 2_000;

/**
 * `out TEXT`, `err TEXT`, `big BYTES` (on stdout) and `exit CODE` end at once; `hang` until it is killed; `held CODE` ends at once, and others hold its
 * output for two seconds; `missing` cannot be started, `full` neither: too many run;
 * `fails STEP ERRNO` as it says.
 * `killed` is told of a SIGKILL for everything.
 */
export function fakeExec(command: readonly string[], killed: () => void): Shim {
  const [verb = '', argument = '', more = ''] = command;
  if (verb === 'missing') throw new ExecFailed('notfound', 2);
  if (verb === 'full') throw new ExecFailed('system', constants.errno.EDQUOT);
  if (verb === 'fails') throw new ExecFailed(argument as ExecStep, Number(more));
  const exit = Promise.withResolvers<ExitRecord>();
  exit.promise.catch(() => {});
  let listener: ShimListener | undefined;
  const end = (code: number): void => {
    const record = exitRecord(code);
    listener?.exit(record);
    exit.resolve(record);
  };
  const run = (): void => {
    if (verb === 'out') listener?.output(1, 0, Buffer.from(argument));
    if (verb === 'err') listener?.output(2, 0, Buffer.from(argument));
    if (verb === 'big') for (let at = 0; at < Number(argument); at += 65_536) listener?.output(1, at, Buffer.alloc(65_536, 'x'));
    if (verb === 'held') setTimeout(() => end(Number(argument)), HELD_MS);
    else if (verb !== 'hang') end(verb === 'exit' ? Number(argument) : 0);
  };
  const shim = new FakeShim(WELCOME, {
    signal: (signal, everything) => {
      if (signal !== SIGKILL || !everything) return;
      killed();
      end(137);
    },
    left: () => {},
  });
  return {
    welcome: WELCOME,
    logBytesLost: 0,
    exit: exit.promise,
    io: {
      ...shim.io,
      listen: (to) => {
        listener = to;
      },
      subscribe: () => queueMicrotask(run),
      ack: () => {},
    },
    signal: (signal, everything) => shim.signal(signal, everything),
    gone: async () => verb === 'held',
    reopenLog: () => shim.reopenLog(),
    flush: () => shim.flush(),
    leave: () => shim.leave(),
    handOver: async () => {},
    close: () => exit.reject(new ShimLost('closed')),
  };
}
