// A container's log on a terminal: colours and tabs stay, everything else that controls a terminal is shown instead of obeyed.

const ESCAPE = 0x1b;
const CARRIAGE_RETURN = 0x0d;
const TAB = 0x09;
const DELETE = 0x7f;
/** Colours and weights: ESC [ digits and semicolons m. */
const COLOUR = /^\x1b\[[0-9;:]{0,64}m/; // oxlint-disable-line no-control-regex
const CARET_OFFSET = 0x40;
const FIRST_PRINTABLE = 0x20;

/** One line without its newline, made harmless. A carriage return at its end belongs to the terminal it was written to. */
export function harmless(line: Buffer): Buffer {
  const end = line[line.length - 1] === CARRIAGE_RETURN ? line.length - 1 : line.length;
  const text = line.toString('utf8', 0, end);
  let out = '';
  let coloured = false;
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (code === ESCAPE) {
      const colour = COLOUR.exec(text.slice(i, i + 70))?.[0];
      if (colour !== undefined) {
        out += colour;
        coloured = true;
        i += colour.length - 1;
        continue;
      }
    }
    if (code === TAB || (code >= FIRST_PRINTABLE && code < DELETE) || code > 0x9f) out += text[i];
    else if (code < FIRST_PRINTABLE) out += `^${String.fromCharCode(code + CARET_OFFSET)}`;
    else out += `\\x${code.toString(16)}`;
  }
  // A colour that is never ended would go on into what others print.
  return Buffer.from(coloured ? `${out}\x1b[0m` : out);
}
