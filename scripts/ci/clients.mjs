/** The real clients of the interop tests, brought once and named to the tests by the environment. */
import { join } from 'node:path';
import { must } from '../setup/run.mjs';
import { projectNode, root } from '../setup/paths.mjs';
import { clientCache } from './cache.mjs';
import { criTools } from './cri-tools.mjs';

/** @returns {Promise<Record<string, string>>} BERTH_CRICTL, BERTH_CRITEST: a path; BERTH_KUBECTLS: paths, oldest first, with colons between */
export async function clients() {
  const script = join(root, 'bench/src/peer/fetch-kubectl.ts');
  const paths = must('fetching kubectl', projectNode, ['--conditions=source', script, clientCache]).match(/^\/.*$/gm) ?? [];
  const { crictl, critest } = criTools();
  return { BERTH_CRICTL: crictl, BERTH_CRITEST: critest, BERTH_KUBECTLS: paths.join(':') };
}
