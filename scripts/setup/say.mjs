/** How set-up talks: short lines on stderr, so that a program's own stdout stays its own, and one clear sentence when it gives up. */

/** A reason to stop that the person at the keyboard can do something about; printed without a stack. */
export class SetupError extends Error {}

/** @param {string} text one line on what is being done */
export function say(text) {
  process.stderr.write(`berth: ${text}\n`);
}

/**
 * Runs a step and turns a SetupError into one message and exit status 1.
 * @param {() => Promise<void>} step
 */
export async function orExplain(step) {
  try {
    await step();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`berth: ${error.message}\n`);
    process.exit(1);
  }
}
