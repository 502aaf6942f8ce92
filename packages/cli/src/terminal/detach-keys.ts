// The key sequence that leaves a session without touching the container, found in a stream of input however it is cut.

/** As docker has it. */
export const DEFAULT_DETACH_KEYS = 'ctrl-p,ctrl-q';
/** Keys with a control code beside the letters: `ctrl-@` is 0, `ctrl-[` is escape. */
const CONTROL_MARKS = '@abcdefghijklmnopqrstuvwxyz[\\]^_';

/**
 * Reads `ctrl-p,ctrl-q`, `ctrl-]`, `a,b`; empty: no keys.
 * @throws RangeError that names what is no key.
 */
export function parseDetachKeys(text: string): Uint8Array {
  if (text === '') return new Uint8Array(0);
  return Uint8Array.from(text.split(','), (key) => {
    const control = /^ctrl-(.)$/i.exec(key)?.[1]?.toLowerCase();
    if (control !== undefined && CONTROL_MARKS.includes(control)) return CONTROL_MARKS.indexOf(control);
    if (/^[!-~]$/.test(key)) return key.charCodeAt(0);
    throw new RangeError(`"${key}" is no key: give single characters or ctrl-<a-z, @, [, \\, ], ^, _>, separated by commas`);
  });
}

/**
 * Passes input on and watches for the sequence. A beginning of it is held back until the next key shows whether it goes on: then
 * it is passed on unchanged, so that a lone ctrl-p reaches the container with the key that follows.
 */
export class DetachKeys {
  readonly #keys: Uint8Array;
  /** `#fallback[n]`: after n keys matched, how many still match when the next one does not (Knuth, Morris, Pratt). */
  readonly #fallback: readonly number[];
  #matched = 0;

  constructor(keys: Uint8Array) {
    this.#keys = keys;
    const fallback = [0, 0];
    for (let i = 1, k = 0; i < keys.length; i += 1) {
      while (k > 0 && keys[i] !== keys[k]) k = fallback[k] ?? 0;
      if (keys[i] === keys[k]) k += 1;
      fallback[i + 1] = k;
    }
    this.#fallback = fallback;
  }

  /** Takes input; gives what goes to the container, and whether the sequence is complete (what follows it is dropped). */
  push(input: Uint8Array): { readonly pass: Uint8Array; readonly detach: boolean } {
    const keys = this.#keys;
    if (keys.length === 0) return { pass: input, detach: false };
    const pass = new Uint8Array(this.#matched + input.length);
    let length = 0;
    for (const byte of input) {
      while (this.#matched > 0 && byte !== keys[this.#matched]) {
        const kept = this.#fallback[this.#matched] ?? 0;
        pass.set(keys.subarray(0, this.#matched - kept), length);
        length += this.#matched - kept;
        this.#matched = kept;
      }
      if (byte === keys[this.#matched]) this.#matched += 1;
      else pass[length++] = byte;
      if (this.#matched === keys.length) return { pass: pass.subarray(0, length), detach: true };
    }
    return { pass: pass.subarray(0, length), detach: false };
  }

  /** The end of the input: what is held back belongs to the container after all. */
  end(): Uint8Array {
    const held = this.#keys.slice(0, this.#matched);
    this.#matched = 0;
    return held;
  }
}
