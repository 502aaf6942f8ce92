// Whoever changes the terminal's mode gives it back as it was, whichever way the process ends or is stopped.

/** Signals that would end the process and that nobody else here listens for; faults (SIGSEGV) and SIGKILL let nobody clean up. */
const DEADLY: readonly NodeJS.Signals[] = [
  'SIGABRT',
  'SIGALRM',
  'SIGIO',
  'SIGPROF',
  'SIGPWR',
  'SIGSTKFLT',
  'SIGSYS',
  'SIGTRAP',
  'SIGUSR1',
  'SIGUSR2',
  'SIGVTALRM',
  'SIGXCPU',
];

/**
 * Changes the mode by `enter`, and back by `leave` when disposed of. Covers the normal end, errors nobody caught, `process.exit`, deadly
 * signals, and Ctrl-Z from outside: the shell gets the terminal as it was, and it is taken again afterwards.
 */
export function holdTerminal(enter: () => void, leave: () => void): Disposable {
  let held = false;
  const take = (): void => {
    if (held) return;
    held = true;
    enter();
  };
  const giveBack = (): void => {
    if (!held) return;
    held = false;
    leave();
  };
  const stop = (): void => {
    giveBack();
    process.kill(process.pid, 'SIGSTOP');
  };
  const die = (signal: NodeJS.Signals): void => {
    giveBack();
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  };
  process.on('exit', giveBack);
  process.on('SIGTSTP', stop);
  process.on('SIGCONT', take);
  for (const signal of DEADLY) process.on(signal, die);
  take();
  return {
    [Symbol.dispose]: () => {
      giveBack();
      process.off('exit', giveBack);
      process.off('SIGTSTP', stop);
      process.off('SIGCONT', take);
      for (const signal of DEADLY) process.off(signal, die);
    },
  };
}
