/** What tests may leave on a machine: processes, mounts, cgroups, network namespaces, LXC's folders, folders in /tmp. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** What ends a moment after its test is no leak. */
const SETTLE_MS = 5_000;
/** Names of programs that Berth starts. */
const OURS = /berth|lxc-start|lxc-monitor|\[lxc /;

/** @returns {Set<string>} one line for each thing */
export function snapshot() {
  return new Set([
    ...processes(),
    ...mounts(),
    ...cgroups(),
    ...names('/run/netns'),
    // LXC's own folder of locks stays, as every user of LXC has it.
    ...names('/run/lxc').filter((line) => !line.endsWith('/lock')),
    ...names('/run/lxc/lock'),
    ...names('/tmp').filter((line) => /\/(?:bt|berth)-/.test(line)),
  ]);
}

/** What is there now and was not before. @param {Set<string>} before @returns {Promise<string[]>} */
export async function leftBehind(before) {
  const fresh = () => [...snapshot()].filter((line) => !before.has(line));
  for (const end = Date.now() + SETTLE_MS; Date.now() < end && fresh().length > 0; ) await sleep(100);
  return fresh();
}

function processes() {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      const command = read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim();
      // This very run stands in a folder that may be called anything; what it started through npm and bash is not meant.
      return OURS.test(command) && !/scripts\/|npm|\.ci\/run|--test/.test(command) ? [`process ${pid}: ${command}`] : [];
    });
}

function mounts() {
  return read('/proc/self/mountinfo')
    .split('\n')
    .map((line) => `mount: ${line.split(' ').slice(3, 5).join(' ')}`);
}

function cgroups() {
  const walk = (dir, depth) =>
    depth === 0
      ? []
      : list(dir).flatMap((entry) =>
          entry.isDirectory() ? [`cgroup: ${join(dir, entry.name)}`, ...walk(join(dir, entry.name), depth - 1)] : [],
        );
  return walk('/sys/fs/cgroup', 4).filter((line) => /berth|bt-|lxc/.test(line));
}

function names(dir) {
  return list(dir).map((entry) => `folder: ${join(dir, entry.name)}`);
}

function list(dir) {
  try {
    return readdirSync(dir, { withFileTypes: true });
  } catch {
    return [];
  }
}

function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
