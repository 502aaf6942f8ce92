/** Values from outside on their way into an LXC config: escaped where LXC can be told, refused where it cannot. */
import { invalid } from './refuse.ts';

/** Longest line of a config file; LXC reads any length, this only keeps a mistake from becoming a huge file. */
const MAX_LINE_BYTES = 64 * 1024;

/** True when a string has a character that would end a line or a C string. */
// biome-ignore lint: the control characters are the point
const hasControl = (value: string): boolean => /[\u0000-\u001f\u007f]/.test(value);

/**
 * One config line. The value must not have control characters (they would start another line), no blank at its
 * ends and no quotes around it: LXC would strip them, and another path would be meant than was asked for.
 */
export const line = (key: string, value: string): string => {
  if (hasControl(value)) throw invalid(key, 'control characters cannot be used here');
  if (value.trim() !== value) throw invalid(key, 'blanks at the beginning or end cannot be used here');
  if (/^(['"]).*\1$/.test(value)) throw invalid(key, 'a value in quotes cannot be used here');
  const text = `${key} = ${value}\n`;
  if (Buffer.byteLength(text) > MAX_LINE_BYTES) throw invalid(key, 'too long');
  return text;
};

/**
 * A path as a field of `lxc.mount.entry`: getmntent(3) knows octal escapes for what separates fields (blank, tab, newline)
 * and for the backslash, and takes a line that begins with `#` for a comment. `field` names it in the error.
 */
export const mountField = (field: string, path: string): string => {
  // biome-ignore lint: the control characters are the point
  if (/[\u0000-\u0008\u000b-\u001f\u007f]/.test(path)) throw invalid(field, 'control characters cannot be used in a mount');
  if (path === '' || path.startsWith('#')) throw invalid(field, `"${path}" cannot be used in a mount`);
  return path.replace(/[ \t\n\\]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);
};

/** A path as one word of a hook's shell command line: with backslashes, because LXC strips a pair of quotes around a value. */
export const shellWord = (path: string): string => path.replace(/[^A-Za-z0-9_./-]/gu, (character) => `\\${character}`);
