// JSON for programs, still harmless when a person looks at it.

// JSON.stringify escapes C0 but leaves DEL and C1, which some terminals obey.
const C1 = /[\u007f-\u009f\u2028\u2029]/g;

/** Indented JSON with a newline at its end. */
export const json = (value: unknown): string =>
  `${JSON.stringify(value, undefined, 2).replace(C1, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)}\n`;
