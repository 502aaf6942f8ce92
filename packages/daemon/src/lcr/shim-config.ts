/** The shim's configuration on its way in and its one line on the way out (shim/PROTOCOL.md, "Starting a shim"). */
import { failed } from './refuse.ts';

/** `key=value`, each ended by a NUL byte. Values may be any bytes but NUL. */
export const encodeShimConfig = (settings: readonly (readonly [key: string, value: string | Buffer])[]): Buffer =>
  Buffer.concat(
    settings.flatMap(([key, value]) => {
      const bytes = Buffer.from(value);
      if (bytes.includes(0)) throw failed(`the setting ${key} has a NUL byte`);
      return [Buffer.from(`${key}=`), bytes, Buffer.from([0])];
    }),
  );

export type ShimErrorKind = 'notfound' | 'noexec' | 'cwd' | 'lxc' | 'log' | 'system';

export type ShimAnswer =
  | { readonly kind: 'ok'; readonly pid: number; readonly error?: never; readonly text?: never }
  | { readonly kind: 'error'; readonly error: ShimErrorKind; readonly text: string };

const KINDS: readonly string[] = ['notfound', 'noexec', 'cwd', 'lxc', 'log', 'system'];
const isKind = (kind: string): kind is ShimErrorKind => KINDS.includes(kind);

/** Reads `ok PID` or `error KIND TEXT`; undefined when the shim said neither. */
export const parseShimAnswer = (output: string): ShimAnswer | undefined => {
  const [line = ''] = output.split('\n');
  const ok = /^ok (\d{1,10})$/.exec(line);
  if (ok) return { kind: 'ok', pid: Number(ok[1]) };
  const error = /^error (\S+) ?(.*)$/.exec(line);
  if (!error) return undefined;
  const [, kind = '', text = ''] = error;
  return { kind: 'error', error: isKind(kind) ? kind : 'system', text };
};
