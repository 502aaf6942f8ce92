/** Runs the text of a test file as a run of its own, for tests of what the project's runs say. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type RunOfTests = { readonly status: number | null; readonly stdout: string; readonly stderr: string };

/** `name`: of the file; `args`: Node's, beside `--test` and the file. */
export function runOfTests(name: string, text: string, args: readonly string[]): RunOfTests {
  const dir = mkdtempSync(join(tmpdir(), 'berth-run-'));
  try {
    const file = join(dir, name);
    writeFileSync(file, text);
    // Without what tells Node that it is within a run already.
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    return spawnSync(process.execPath, [...args, '--test', file], { env, encoding: 'utf8' });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
