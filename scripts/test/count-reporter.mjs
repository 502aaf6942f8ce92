/** A reporter of node:test that writes one line of JSON: how many tests passed, failed and were skipped in this run. */

/** @param {AsyncIterable<{ type: string, data: any }>} source */
async function* countReporter(source) {
  for await (const { type, data } of source) {
    // The summary of a single file names it; the one of the whole run does not.
    if (type !== 'test:summary' || data.file !== undefined) continue;
    const { passed, failed = 0, cancelled, skipped } = data.counts;
    const counted = data.counts.tests - passed - cancelled - skipped - data.counts.todo;
    yield `${JSON.stringify({ passed, failed: Math.max(failed, counted) + cancelled, skipped, success: data.success })}\n`;
  }
}

// node:test takes a reporter by its default export.
// oxlint-disable-next-line import/no-default-export
export default countReporter;
