/** The exit record that a shim leaves on disk (shim/PROTOCOL.md): the truth about a container's end when nobody was there to hear it. */
import { readFile } from 'node:fs/promises';
import * as v from 'valibot';
import { exitRecordPath, spareRecordPath } from '../runtime/runtime.ts';
import type { ExitRecord } from '../stdio/shim.ts';
import { unless } from '../util/errno.ts';
import { nsSchema } from '../util/schemas.ts';

const byte = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(255));

const schema = v.object({
  kind: v.picklist(['exited', 'signaled', 'unknown']),
  code: byte,
  signal: byte,
  oom: v.boolean(),
  offset: nsSchema,
  startedAt: nsSchema,
  finishedAt: nsSchema,
  drained: v.boolean(),
  reason: v.string(),
});

/**
 * Reads it: below the root directory or, where the shim could not write there, in the state directory. Undefined when there is none (yet).
 * A damaged one counts as none: the shim renames it into place as a whole.
 */
export async function readExitRecord(
  { root, state }: { readonly root: string; readonly state: string },
  id: string,
): Promise<ExitRecord | undefined> {
  const [record, spare] = await Promise.allSettled([readRecord(exitRecordPath(root, id)), readRecord(spareRecordPath(state, id))]);
  const found = record.status === 'fulfilled' ? record.value : undefined;
  if (found !== undefined) return found;
  if (spare.status === 'fulfilled' && spare.value !== undefined) return spare.value;
  // A disk that fails says nothing of the container.
  if (record.status === 'rejected') throw record.reason;
  if (spare.status === 'rejected') throw spare.reason;
  return undefined;
}

async function readRecord(path: string): Promise<ExitRecord | undefined> {
  const text = await unless(['ENOENT'], readFile(path, 'utf8'));
  return text === undefined ? undefined : parseExitRecord(text);
}

/** The record in a file's text, or undefined. */
export function parseExitRecord(text: string): ExitRecord | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  const parsed = v.safeParse(schema, json);
  if (!parsed.success) return undefined;
  const { startedAt, finishedAt, ...rest } = parsed.output;
  return { ...rest, startedAtNs: startedAt, finishedAtNs: finishedAt };
}
