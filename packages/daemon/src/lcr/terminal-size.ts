/** The first size of a terminal: a program may ask for it before any client has said how large its window is. */
import { invalid } from './refuse.ts';

export type TerminalSize = { readonly columns: number; readonly rows: number };

/** On a container with a terminal: `COLUMNSxROWS`. CRI has no field for it. */
export const TERMINAL_SIZE_ANNOTATION = 'io.berth.terminal-size';
/** The kernel keeps 16 bits of each. */
const MOST = 0xffff;

/** The size that a container's annotations ask for. @throws BerthError `INVALID_FIELD` */
export const annotatedSize = (annotations: Readonly<Record<string, string>>): TerminalSize | undefined => {
  const text = annotations[TERMINAL_SIZE_ANNOTATION];
  if (text === undefined) return undefined;
  const [columns = 0, rows = 0] = (/^(\d{1,5})x(\d{1,5})$/.exec(text) ?? []).slice(1).map(Number);
  if (columns >= 1 && columns <= MOST && rows >= 1 && rows <= MOST) return { columns, rows };
  throw invalid(`annotations[${TERMINAL_SIZE_ANNOTATION}]`, `"${text}" is not COLUMNSxROWS, each from 1 to ${MOST}`);
};

/** As the shim wants it. */
export const sizeSettings = (size: TerminalSize | undefined): readonly (readonly [string, string])[] =>
  size === undefined
    ? []
    : [
        ['rows', String(size.rows)],
        ['cols', String(size.columns)],
      ];
