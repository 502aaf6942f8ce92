// Makes text from elsewhere harmless on a terminal: what controls it is shown instead of obeyed.

/** C0, DEL, C1, and the marks that reorder or hide text: names and messages need none of them. */
// oxlint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

const escaped = (character: string): string => {
  const code = character.charCodeAt(0);
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
};

/** Text for one line of output: `\x1b[31m` instead of red. */
export const visible = (text: string): string => text.replace(CONTROL, escaped);
