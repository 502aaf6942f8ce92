/** `berth-seccomp`: a policy becomes the kernel's filter, each action the answer that its name promises; what is wrong is refused. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Filter, SKIP } from './support/container.ts';

const options = { skip: SKIP };

/** What linux/seccomp.h calls the answers. */
const ANSWERS: Readonly<Record<string, number>> = {
  allow: 0x7fff_0000,
  log: 0x7ffc_0000,
  trap: 0x0003_0000,
  'errno 38': 0x0005_0026,
  kill: 0,
  kill_process: 0x8000_0000,
};
/** BPF_RET with a constant; an instruction is u16 code, two u8 jumps, u32 constant (linux/filter.h). */
const RET_K = 0x06;

function answers(policy: string): number[] {
  using filter = new Filter(policy);
  const bytes = readFileSync(filter.path);
  const found = new Set<number>();
  for (let at = 0; at < bytes.length; at += 8) if (bytes.readUInt16LE(at) === RET_K) found.add(bytes.readUInt32LE(at + 4));
  return [...found].sort((a, b) => a - b);
}

test('every action, as the default and in a rule', options, () => {
  for (const [word, answer] of Object.entries(ANSWERS)) {
    for (const [other, otherAnswer] of Object.entries(ANSWERS)) {
      if (other === word) continue;
      // The answer to system calls of other architectures is always to kill.
      const wanted = [...new Set([answer, otherAnswer, ANSWERS['kill'] ?? 0])].sort((a, b) => a - b);
      assert.deepEqual(answers(`2\nallowlist ${word}\n[all]\nmkdir ${other}\n`), wanted, `${word}, ${other}`);
    }
  }
});

test('an action that is none', options, () => {
  for (const policy of ['2\nallowlist nonsense\n[all]\n', '2\nallowlist log\n[all]\nmkdir logs\n'])
    assert.throws(() => answers(policy), /the default is wrong|an action is unknown/);
});
