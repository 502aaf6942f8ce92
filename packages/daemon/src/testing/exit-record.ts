/** How init or a program ended, in tests. */
import type { ExitRecord } from '../stdio/shim.ts';

/** With a code above 128, by that signal; without output; all of it as `more` says otherwise. */
export const exitRecord = (code: number, more: Partial<ExitRecord> = {}): ExitRecord => ({
  kind: code > 128 ? 'signaled' : 'exited',
  code,
  signal: code > 128 ? code - 128 : 0,
  oom: false,
  offset: 0n,
  startedAtNs: 1n,
  finishedAtNs: 2n,
  drained: true,
  reason: '',
  ...more,
});
