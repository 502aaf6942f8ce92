// Tables for people: columns as wide as their widest cell, nothing cut off.
import { visible } from './visible.ts';

const GAP = '   ';

const width = (text: string): number => [...text].length;

/** Lays out rows under headings; every cell is made harmless first. Ends with a newline. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [headings, ...rows.map((row) => row.map(visible))];
  const widths = headings.map((_, column) => Math.max(...cells.map((row) => width(row[column] ?? ''))));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => cell + ' '.repeat(Math.max(0, (widths[column] ?? 0) - width(cell))))
      .join(GAP)
      .trimEnd();
  return cells.map((row) => `${line(row)}\n`).join('');
}
