/** The image config (OCI image-spec `application/vnd.oci.image.config.v1+json`; Docker's differs only in what Berth does not read). */
import * as v from 'valibot';
import { BerthError } from '../util/errors.ts';
import type { ImageRunConfig } from './image.ts';
import { MAX_PATH_BYTES, MAX_VOLUMES } from './limits.ts';
import { damaged } from './tar-header.ts';
import type { Platform } from './platform.ts';

/** Go writes what is empty as null, as nothing, or as empty. */
const strings = v.nullish(v.array(v.string()), []);
const text = v.nullish(v.string(), '');

/** Each is looked up, and made where it is missing, in every container of the image. */
const volume = v.pipe(v.string(), v.regex(/^[^\0]*$/, 'no path'), v.maxBytes(MAX_PATH_BYTES));

const ConfigSchema = v.object({
  os: text,
  architecture: text,
  config: v.nullish(
    v.object({
      User: text,
      Env: strings,
      Entrypoint: strings,
      Cmd: strings,
      WorkingDir: text,
      Volumes: v.nullish(v.pipe(v.record(volume, v.unknown()), v.maxEntries(MAX_VOLUMES)), {}),
      StopSignal: text,
      Labels: v.nullish(v.record(v.string(), v.string()), {}),
    }),
    {},
  ),
  rootfs: v.object({ type: v.nullish(v.literal('layers'), 'layers'), diff_ids: strings }),
});

const DIGEST = /^sha256:([a-f0-9]{64})$/;

export type ImageConfig = Platform & {
  readonly run: ImageRunConfig;
  /** 64 hex digits each, lowest layer first. */
  readonly diffIds: readonly string[];
};

/** The 64 hex digits of a `sha256:` digest; throws where it is another kind or none. */
export function hexOf(digest: string): string {
  const hex = DIGEST.exec(digest)?.[1];
  if (hex !== undefined) return hex;
  throw new BerthError(
    'invalid-argument',
    'IMAGE_ARCHIVE_UNSUPPORTED',
    `"${digest.slice(0, 80)}" is no sha256 digest, the only kind that Berth reads`,
  );
}

/** Parses JSON from an archive against a schema; `what` is named in the error. */
export function parseJson<S extends v.GenericSchema>(schema: S, bytes: Buffer, what: string): v.InferOutput<S> {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw damaged(`${what} is no JSON`, { cause });
  }
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const issue = result.issues[0];
  throw damaged(`${what} has a wrong value at "${v.getDotPath(issue) ?? ''}" (${issue.message})`);
}

export function parseImageConfig(bytes: Buffer): ImageConfig {
  const { os, architecture, config, rootfs } = parseJson(ConfigSchema, bytes, 'the image config');
  const { User, Env, Entrypoint, Cmd, WorkingDir, Volumes, StopSignal, Labels } = config;
  return {
    os,
    architecture,
    run: {
      user: User,
      env: Env,
      entrypoint: Entrypoint,
      cmd: Cmd,
      workingDir: WorkingDir,
      // Builders take relative ones too, and mean the image's root.
      volumes: Object.keys(Volumes)
        .filter((path) => path !== '')
        .map((path) => (path.startsWith('/') ? path : `/${path}`)),
      stopSignal: StopSignal,
      labels: Labels,
    },
    diffIds: rootfs.diff_ids.map(hexOf),
  };
}

/** The config of a root file system that came without one: the same bytes for the same layer, so that its id is the same too. */
export function generateConfig(platform: Platform, diffId: string): Buffer {
  const { architecture, os } = platform;
  return Buffer.from(JSON.stringify({ architecture, os, config: {}, rootfs: { type: 'layers', diff_ids: [`sha256:${diffId}`] } }));
}
