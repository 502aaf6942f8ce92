/** What a daemon tells operators of its sessions: audit lines in its log, the list by `berth sessions`, and a scrape of its metrics. */
import assert from 'node:assert/strict';
import { type ParsedFamily, parseExposition } from '../../packages/daemon/src/testing/parse-exposition.ts';
import { berth } from './berth.ts';
import type { TestDaemon } from './daemon.ts';
import { eventually } from './processes.ts';

/** One line, with every field that it has. */
export type AuditLine = Readonly<Record<string, unknown>>;

/** Waits until there are so many audit lines of a container, or of a session; gives all of them, oldest first. */
export async function audited(
  daemon: TestDaemon,
  by: 'container' | 'session',
  id: string,
  lines: number,
): Promise<readonly AuditLine[]> {
  return await eventually('the audit lines are written', () => {
    const found = daemon
      .log()
      .split('\n')
      // The last one may not be whole yet.
      .slice(0, -1)
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as AuditLine)
      .filter((line) => line['event'] === 'session' && line[by] === id);
    return found.length >= lines ? found : undefined;
  });
}

/** All lines of a session that has ended, whole but for process id, times and duration, which nobody knows in advance: those are looked at here. */
export async function auditOf(daemon: TestDaemon, session: string): Promise<readonly AuditLine[]> {
  const lines = await audited(daemon, 'session', session, 2);
  return lines.map(({ pid, time, ms, ...rest }) => {
    assert.equal(pid, daemon.pid);
    assert.match(String(time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    if (rest['phase'] === 'begin') assert.equal(ms, undefined);
    else assert.ok(typeof ms === 'number' && Number.isInteger(ms) && ms >= 0, String(ms));
    return rest;
  });
}

export type Listed = {
  readonly id: string;
  /** The row of the table by its columns, without AGE. */
  readonly row: readonly string[];
  /** The object of `-o json`, without `startedAt`. */
  readonly json: Readonly<Record<string, unknown>>;
};

/** The only session that there is, as `berth sessions` shows it in both forms. `since`: it began after that. */
export async function onlySession(daemon: TestDaemon, since: number): Promise<Listed> {
  const table = await berth(daemon, ['sessions']);
  const [headings = '', row = '', ...more] = table.stdout.trimEnd().split('\n');
  assert.match(headings, /^SESSION +KIND +TARGET +ID +REMOTE +PROTOCOL +STREAMS +AGE +IN +OUT +LAG$/);
  assert.deepEqual([table.code, table.stderr, more], [0, '', []]);
  const columns = row.split(/ {3,}/);
  const [age = ''] = columns.splice(7, 1);
  assert.match(age, /^\d+[smh]$/);

  const { stdout } = await berth(daemon, ['sessions', '-o', 'json']);
  const { sessions } = JSON.parse(stdout) as { sessions: Record<string, unknown>[] };
  const [{ startedAt, ...json } = {}] = sessions;
  assert.equal(sessions.length, 1);
  const at = Number(BigInt(String(startedAt)) / 1_000_000n);
  assert.ok(at >= since && at <= Date.now(), `${since}, ${at}`);
  return { id: columns[0] ?? '', row: columns, json };
}

/** Scrapes as Prometheus does, and reads it strictly. */
export async function scrape(daemon: TestDaemon): Promise<Map<string, ParsedFamily>> {
  const response = await fetch(daemon.metrics);
  assert.equal(response.status, 200);
  return parseExposition(await response.text());
}

/** What sessions of a kind have moved: `{ 'in stdin': 7 }`. */
export function bytesMoved(families: ReadonlyMap<string, ParsedFamily>, kind: string): Record<string, number> {
  const samples = families.get('berth_session_bytes_total')?.samples ?? [];
  return Object.fromEntries(
    samples
      .filter(({ labels }) => labels['kind'] === kind)
      .map(({ labels: { direction, stream }, value }) => [`${direction} ${stream}`, value]),
  );
}
