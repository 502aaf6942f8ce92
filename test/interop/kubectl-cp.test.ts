/** Real kubectls copy a large tree into a container and back: tar through exec's stdin and stdout. */
import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ApiServer } from '../src/api-server/api-server.ts';
import { TestDaemon } from '../src/daemon.ts';
import { sumOfTree } from '../src/hashing.ts';
import { checkLeg, Kubectl, legs } from '../src/kubectl.ts';
import { randomBlocks, randomFile } from '../src/random.ts';

const KIB = 1024;
const FOLDERS = 20;
const FILES_EACH = 50;
const LARGE_BYTES = 48 * 1024 * KIB;

let daemon: TestDaemon;
let api: ApiServer;
let tree: string;
let sums: Record<string, string>;

before(async () => {
  daemon = await TestDaemon.start();
  api = await ApiServer.start(daemon);
  await api.cluster.run('box', 'mkdir /copies; exec sleep 100000');
  tree = join(daemon.dir, 'tree');
  await makeTree();
  sums = sumOfTree(tree);
});

after(async () => {
  await api[Symbol.asyncDispose]();
  await daemon[Symbol.asyncDispose]();
});

/** A thousand files of 0 B to 40 KiB, odd names among them, and a large one. */
async function makeTree(): Promise<void> {
  for (let folder = 0; folder < FOLDERS; folder += 1) {
    const path = join(tree, `folder ${folder}`, 'below');
    mkdirSync(path, { recursive: true });
    for (let file = 0; file < FILES_EACH; file += 1) {
      const content = Buffer.concat([...randomBlocks(file * 821, folder * FILES_EACH + file + 1)]);
      writeFileSync(join(path, file % 7 === 0 ? `ünïcode ${file}` : `file-${file}`), content);
    }
  }
  await randomFile(join(tree, 'large'), LARGE_BYTES);
}

for (const [number, leg] of legs().entries()) {
  test(`${leg.name}: ${FOLDERS * FILES_EACH + 1} files there and back`, async () => {
    const kubectl = new Kubectl(leg, api, daemon.dir);
    const there = await kubectl.run(['cp', tree, `box:/copies/${number}`]);
    assert.equal(there.code, 0, there.stderr);
    const count = await kubectl.run(['exec', 'box', '--', 'sh', '-c', `find /copies/${number} -type f | wc -l`]);
    assert.equal(count.stdout.trim(), String(FOLDERS * FILES_EACH + 1));
    const target = join(daemon.dir, `back-${number}`);
    const back = await kubectl.run(['cp', `box:/copies/${number}`, target]);
    assert.equal(back.code, 0, back.stderr);
    assert.deepEqual(sumOfTree(target), sums);
    rmSync(target, { recursive: true });
    assert.equal((await kubectl.run(['exec', 'box', '--', 'rm', '-r', `/copies/${number}`])).code, 0);
    checkLeg(api, leg);
  });
}
