/** The real crictl and critest, built once from Go's module proxy and kept outside the tree. */
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { attempt, must } from '../setup/run.mjs';
import { SetupError, say } from '../setup/say.mjs';
import { clientCache } from './cache.mjs';

const VERSION = 'v1.36.0';
/** What that version's go.mod asks for. */
const GO = [1, 26];

/** How each program is built; critest is a program of tests. */
const BUILD = { crictl: ['build', '-buildvcs=false'], critest: ['test', '-c'] };

/** @returns {{ crictl: string, critest: string }} their absolute paths */
export function criTools() {
  return { crictl: tool('crictl'), critest: tool('critest') };
}

function tool(name) {
  const binary = join(clientCache, `${name}-${VERSION}-${process.arch}`);
  if (existsSync(binary)) return binary;
  const go = goProgram();
  say(`building ${name} ${VERSION}`);
  mkdirSync(clientCache, { recursive: true });
  // In the module's own folder, so that its own list of hashes counts for everything it needs.
  const { Dir: dir } = JSON.parse(
    must('go mod download', go, ['mod', 'download', '-json', `sigs.k8s.io/cri-tools@${VERSION}`], { cwd: '/' }),
  );
  must(`go ${BUILD[name][0]}`, go, [...BUILD[name], '-trimpath', '-mod=readonly', '-o', `${binary}.new`, `./cmd/${name}`], {
    cwd: dir,
  });
  renameSync(`${binary}.new`, binary);
  return binary;
}

function goProgram() {
  const go = ['go', '/usr/local/go/bin/go'].find((candidate) => attempt(candidate, ['version']).ok);
  const version = go === undefined ? '' : must('go env', go, ['env', 'GOVERSION']).trim();
  const [major = 0, minor = 0] = version.replace('go', '').split('.').map(Number);
  if (go === undefined || major < (GO[0] ?? 0) || (major === GO[0] && minor < (GO[1] ?? 0))) {
    throw new SetupError(
      `cri-tools ${VERSION} are built with Go ${GO.join('.')} or newer; ${version === '' ? 'there is none' : `here is ${version}`}`,
    );
  }
  return go;
}
