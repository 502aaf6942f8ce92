/** Users and groups by every spelling, from hostile files too. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SupplementalGroupsPolicy } from '@berth/cri-api';
import { parseGroup, parsePasswd, resolveUser, type UserRequest } from './users.ts';

const PASSWD = 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:2000::/home/app:\n1234:x:55:56::relative:\nbroken\nbad:x:y:z\n';
const GROUP = 'root:x:0:\nextra:x:3000:app,other\nnamed:x:4000:\nbroken\n';
const request = (changes: Partial<UserRequest> = {}): UserRequest => ({
  runAsUsername: '',
  supplementalGroups: [],
  policy: SupplementalGroupsPolicy.Merge,
  imageUser: '',
  ...changes,
});
const resolve = (changes: Partial<UserRequest>) => {
  const { uid, gid, groups, home } = resolveUser(request(changes), PASSWD, GROUP);
  return `${uid}:${gid} ${groups.join(',')} ${home}`;
};

describe('resolveUser', () => {
  test('image users', () => {
    assert.equal(resolve({}), '0:0 0 /root');
    assert.equal(resolve({ imageUser: 'app' }), '1000:2000 2000,3000 /home/app');
    assert.equal(resolve({ imageUser: '1000' }), '1000:2000 2000,3000 /home/app');
    assert.equal(resolve({ imageUser: 'app:named' }), '1000:4000 4000,3000 /home/app');
    assert.equal(resolve({ imageUser: '7:8' }), '7:8 8 /');
    assert.equal(resolve({ imageUser: ':named' }), '0:4000 4000 /root');
  });

  test('a number is an id, also where passwd or group has it as a name', () => {
    const passwd = '1000:x:0:0::/root:/bin/sh\n';
    const group = '1000:x:0:1000\n';
    for (const changes of [{ runAsUser: 1000n }, { runAsUsername: '1000' }, { imageUser: '1000' }, { imageUser: '1000:1000' }]) {
      const { uid, home } = resolveUser(request(changes), passwd, group);
      assert.deepEqual([uid, home], [1000, '/']);
    }
    assert.equal(resolveUser(request({ imageUser: '1000:1000' }), passwd, group).gid, 1000);
    assert.equal(resolve({ imageUser: '1234' }), '1234:0 0 /');
  });

  test('the request wins over the image', () => {
    assert.equal(resolve({ imageUser: 'app', runAsUser: 0n }), '0:0 0 /root');
    assert.equal(resolve({ imageUser: 'app:named', runAsUsername: 'app' }), '1000:2000 2000,3000 /home/app');
    assert.equal(resolve({ runAsUser: 1000n, runAsGroup: 9n, supplementalGroups: [9n, 10n] }), '1000:9 9,3000,10 /home/app');
  });

  test('Strict leaves the groups of the image out', () => {
    assert.equal(
      resolve({ imageUser: 'app', policy: SupplementalGroupsPolicy.Strict, supplementalGroups: [5n] }),
      '1000:2000 2000,5 /home/app',
    );
  });

  test('refusals name the field', () => {
    assert.throws(() => resolve({ runAsGroup: 5n }), /run_as_group: needs run_as_user/);
    assert.throws(() => resolve({ imageUser: 'app', runAsGroup: 5n }), /run_as_group/);
    assert.throws(() => resolve({ runAsUser: 5n, runAsUsername: 'app' }), /run_as_username/);
    assert.throws(() => resolve({ runAsUsername: 'nobody-there' }), /no user "nobody-there"/);
    assert.throws(() => resolve({ imageUser: 'app:nogroup' }), /no group "nogroup"/);
    assert.throws(() => resolve({ runAsUser: -1n }), /run_as_user/);
    assert.throws(() => resolve({ runAsUser: 4294967295n }), /run_as_user/);
    assert.throws(() => resolve({ supplementalGroups: [-5n] }), /supplemental_groups/);
  });
});

test('files with broken lines give what is whole', () => {
  assert.equal(parsePasswd(PASSWD).length, 3);
  assert.deepEqual(parseGroup('a:x:1:b,,c\r\n#x:x:2:\n'), [{ name: 'a', gid: 1, members: ['b', 'c'] }]);
});
