/** Which AppArmor profile a container gets, by what it asks for and what the host has. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromJson, type JsonObject } from '@bufbuild/protobuf';
import { LinuxContainerSecurityContextSchema } from '@berth/cri-api';
import { BerthError } from '../util/errors.ts';
import { hasLxcProfile, type HostFacts } from './host-facts.ts';
import { V1, V2 } from './host-facts-samples.ts';
import { apparmorProfile } from './security-profiles.ts';

const given = (context: JsonObject, facts: HostFacts) =>
  apparmorProfile(fromJson(LinuxContainerSecurityContextSchema, context), facts);
const refused = (error: unknown) => error instanceof BerthError && error.kind === 'failed-precondition';
const ASKED = { apparmor: { profileType: 'RuntimeDefault' } };
const NAMED = { apparmor: { profileType: 'Localhost', localhostRef: 'mine' } };
const UNCONFINED = { apparmor: { profileType: 'Unconfined' } };

test("with LXC's profile: LXC decides, unless something else is asked for", () => {
  assert.deepEqual(
    [{}, ASKED, NAMED, UNCONFINED, { privileged: true }, { ...NAMED, privileged: true }].map((context) => given(context, V2)),
    [undefined, undefined, 'mine', 'unconfined', 'unconfined', 'unconfined'],
  );
});

test("AppArmor without LXC's profile: unconfined, and a refusal for who asks for it", () => {
  const facts = { ...V2, apparmorDefault: false };
  assert.deepEqual(
    [{}, NAMED, UNCONFINED, { ...ASKED, privileged: true }].map((context) => given(context, facts)),
    ['unconfined', 'mine', 'unconfined', 'unconfined'],
  );
  assert.throws(() => given(ASKED, facts), refused);
});

test('without AppArmor a profile of a name is refused', () => {
  assert.deepEqual(
    [{}, ASKED, UNCONFINED].map((context) => given(context, V1)),
    [undefined, undefined, undefined],
  );
  assert.throws(() => given(NAMED, V1), refused);
});

test("the kernel's list of profiles", () => {
  assert.equal(hasLxcProfile('lsb_release (enforce)\nlxc-container-default-cgns (enforce)\n/usr/bin/lxc-start (enforce)\n'), true);
  assert.equal(hasLxcProfile('lxc-container-default (enforce)\nlxc-container-default-with-nesting (enforce)\n'), false);
  assert.equal(hasLxcProfile(''), false);
  assert.equal(hasLxcProfile(undefined), true);
});
