/** Merges defaults, file and flags into the daemon's settings; flags win over the file. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import * as v from 'valibot';
import { BerthError, messageOf } from '../util/errors.ts';
import type { Config } from './config.ts';
import type { Flags } from './flags.ts';
import { type CheckedSettings, type Settings, settingsSchema, withDefaults } from './schema.ts';

/**
 * Reads the file that `--config` names, if any, and lets the flags win.
 * @throws BerthError `CONFIG_INVALID`, naming file or flag and key
 */
export async function loadConfig(flags: Flags): Promise<Config> {
  const fromFile = flags.config === undefined ? {} : await readSettings(flags.config);
  const fromFlags = check(flagSettings(flags), 'the command line');
  const streaming = { ...fromFile.streaming, ...fromFlags.streaming };
  return withDefaults({ ...fromFile, ...fromFlags, streaming });
}

async function readSettings(path: string): Promise<CheckedSettings> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw invalid(`${path} cannot be read: ${messageOf(cause)}`, cause);
  }
  try {
    return check(parse(text), path);
  } catch (cause) {
    if (cause instanceof TomlError)
      throw invalid(`${path} is not TOML: line ${cause.line}, column ${cause.column}: ${firstLine(cause.message)}`, cause);
    throw cause;
  }
}

function flagSettings(flags: Flags): Settings {
  const { root, state, socket, logLevel, streamingAddress, metricsAddress, defaultImage } = flags;
  // On a command line a path is meant from where one stands; in a file that would depend on who starts the daemon.
  return {
    ...(root === undefined ? {} : { root: fromHere(root) }),
    ...(state === undefined ? {} : { state: fromHere(state) }),
    ...(socket === undefined ? {} : { socket: fromHere(socket) }),
    ...(logLevel === undefined ? {} : { log_level: logLevel as Settings['log_level'] & string }),
    ...(streamingAddress === undefined ? {} : { streaming: { address: streamingAddress } }),
    ...(metricsAddress === undefined ? {} : { metrics: { address: metricsAddress } }),
    ...(defaultImage === undefined ? {} : { image: { default_archive: fromHere(defaultImage) } }),
  };
}

/** Nothing, as of a variable that is not set, is no folder: it would be the one where the daemon was started. */
const fromHere = (path: string): string => (path === '' ? path : resolve(path));

/** Checks what a source says; unknown keys are refused by name. */
function check(settings: unknown, source: string): CheckedSettings {
  const parsed = v.safeParse(settingsSchema, settings);
  if (parsed.success) return parsed.output;
  const issue = parsed.issues[0];
  const key = v.getDotPath(issue);
  const what = issue.type === 'strict_object' ? 'is not a setting' : issue.message;
  throw invalid(`${source}: ${key === null ? 'the settings' : `"${key}"`}: ${what}`);
}

const firstLine = (text: string): string => text.split('\n', 1)[0] ?? text;

const invalid = (message: string, cause?: unknown): BerthError =>
  new BerthError('invalid-argument', 'CONFIG_INVALID', message, { cause });
