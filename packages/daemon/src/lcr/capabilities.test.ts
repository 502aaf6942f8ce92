/** CRI's capability lists over the default set, limited by what the daemon has. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { CapabilitySchema } from '@berth/cri-api';
import { CAPABILITIES, containerCapabilities, capabilityMask } from './capabilities.ts';

const ALL = (1n << BigInt(CAPABILITIES.length)) - 1n;
const WITHOUT_SYS_RESOURCE = ALL & ~(1n << 24n);
const lists = (addCapabilities: string[], dropCapabilities: string[], addAmbientCapabilities: string[] = []) =>
  create(CapabilitySchema, { addCapabilities, dropCapabilities, addAmbientCapabilities });

test('bit order is that of the kernel', () => {
  assert.deepEqual(
    [CAPABILITIES[0], CAPABILITIES[21], CAPABILITIES[24], CAPABILITIES[40]],
    ['chown', 'sys_admin', 'sys_resource', 'checkpoint_restore'],
  );
});

test('the default is the fourteen of other runtimes', () =>
  assert.equal(containerCapabilities(undefined, false, ALL), 0xa80425fbn));

test('ALL means what the daemon has; names are taken with and without CAP_, in any case', () => {
  assert.equal(containerCapabilities(lists(['ALL'], []), false, WITHOUT_SYS_RESOURCE), WITHOUT_SYS_RESOURCE);
  assert.equal(containerCapabilities(lists(['ALL'], ['CAP_CHOWN', 'kill']), false, ALL), ALL & ~0x21n);
  assert.equal(containerCapabilities(lists(['net_admin'], ['all']), false, ALL), 1n << 12n);
  assert.equal(containerCapabilities(undefined, true, WITHOUT_SYS_RESOURCE), WITHOUT_SYS_RESOURCE);
});

test('a default one that the daemon lacks is left out, one that was asked for is refused', () => {
  assert.equal(containerCapabilities(undefined, false, 0xffn), 0xfbn);
  assert.throws(
    () => containerCapabilities(lists(['SYS_RESOURCE'], []), false, WITHOUT_SYS_RESOURCE),
    /does not have SYS_RESOURCE/,
  );
});

test('unknown and ambient ones are refused by name', () => {
  assert.throws(() => containerCapabilities(lists(['CAP_NOTHING'], []), false, ALL), /no capability "CAP_NOTHING"/);
  assert.throws(() => containerCapabilities(lists([], ['x\ny']), false, ALL), /drop_capabilities/);
  assert.throws(() => containerCapabilities(lists([], [], ['CHOWN']), false, ALL), /add_ambient_capabilities/);
});

test('an empty set is "none" to LXC', () => {
  assert.equal(capabilityMask(0n), '0000000000000000');
  assert.equal(capabilityMask(0x401n), '0000000000000401');
});
