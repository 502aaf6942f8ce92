/** Who a container's init is: CRI's run_as_* over the image's USER, looked up in the image's own passwd and group files. */
import { SupplementalGroupsPolicy } from '@berth/cri-api';
import { invalid } from './refuse.ts';

export type ContainerUser = {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  /** From passwd; `/` when the user has no entry. */
  readonly home: string;
};

/** What a request and an image say about the user. */
export type UserRequest = {
  readonly runAsUser?: bigint;
  readonly runAsGroup?: bigint;
  readonly runAsUsername: string;
  readonly supplementalGroups: readonly bigint[];
  readonly policy: SupplementalGroupsPolicy;
  /** The image's USER: `name`, `uid`, `name:group`, `uid:gid` or empty. */
  readonly imageUser: string;
};

type Passwd = { readonly name: string; readonly uid: number; readonly gid: number; readonly home: string };
type Group = { readonly name: string; readonly gid: number; readonly members: readonly string[] };

/** Largest id: 2^32-1 means "no change" to the kernel and is no id. */
const MAX_ID = 2 ** 32 - 2;
const NUMBER = /^\d{1,10}$/;

const fields = (file: string): readonly (readonly string[])[] =>
  file
    .split('\n')
    .map((line) => line.replace(/\r$/, ''))
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(':'));

/** passwd(5); lines that are not entries are skipped. */
export const parsePasswd = (file: string): readonly Passwd[] =>
  fields(file)
    .filter(([name, , uid, gid]) => name && NUMBER.test(uid ?? '') && NUMBER.test(gid ?? ''))
    .map(([name = '', , uid, gid, , home]) => ({
      name,
      uid: Number(uid),
      gid: Number(gid),
      home: home?.startsWith('/') ? home : '/',
    }));

/** group(5); lines that are not entries are skipped. */
export const parseGroup = (file: string): readonly Group[] =>
  fields(file)
    .filter(([name, , gid]) => name && NUMBER.test(gid ?? ''))
    .map(([name = '', , gid, members = '']) => ({ name, gid: Number(gid), members: members.split(',').filter(Boolean) }));

const checked = (field: string, id: bigint): number => {
  if (id < 0n || id > BigInt(MAX_ID)) throw invalid(field, `${id} is not a user or group id`);
  return Number(id);
};

/**
 * Resolves the user. `passwd` and `group` are the contents of the image's files, empty when it has none.
 * A numeric user without an entry is fine (gid 0 then); a name without an entry is refused.
 */
export const resolveUser = (request: UserRequest, passwdFile: string, groupFile: string): ContainerUser => {
  const at = 'linux.security_context';
  const passwd = parsePasswd(passwdFile);
  const groups = parseGroup(groupFile);
  if (request.runAsUser !== undefined && request.runAsUsername !== '')
    throw invalid(`${at}.run_as_username`, 'only one of run_as_user and run_as_username can be set');
  const own = request.runAsUser !== undefined || request.runAsUsername !== '';
  if (request.runAsGroup !== undefined && !own) throw invalid(`${at}.run_as_group`, 'needs run_as_user or run_as_username');

  const [user = '', group = ''] = own ? [request.runAsUser?.toString() ?? request.runAsUsername] : request.imageUser.split(':');
  const field = own ? (request.runAsUser !== undefined ? `${at}.run_as_user` : `${at}.run_as_username`) : 'image user';
  const entry = findUser(field, user, passwd);

  let gid = entry.gid;
  if (request.runAsGroup !== undefined) gid = checked(`${at}.run_as_group`, request.runAsGroup);
  else if (group !== '') gid = findGroup('image user', group, groups);

  if (request.supplementalGroups.length > MAX_GROUPS) throw invalid(`${at}.supplemental_groups`, `more than ${MAX_GROUPS}`);
  const extra = request.supplementalGroups.map((id) => checked(`${at}.supplemental_groups`, id));
  // Merge (the default): the groups that the image gives the user, too. Strict: only what the request says.
  const fromImage =
    request.policy === SupplementalGroupsPolicy.Merge && entry.name !== ''
      ? groups.filter(({ members }) => members.includes(entry.name)).map((g) => g.gid)
      : [];
  return { uid: entry.uid, gid, groups: [...new Set([gid, ...fromImage, ...extra])], home: entry.home };
};

/** What the kernel takes (NGROUPS_MAX), less the user's own. */
const MAX_GROUPS = 65_535;

/** Numbers are ids, never names, as other runtimes have it: an image whose passwd calls root `1000` must not turn a request for 1000 into root. */
const ID = /^-?\d+$/;

const findUser = (field: string, user: string, passwd: readonly Passwd[]): Passwd => {
  const wanted = user === '' ? '0' : user;
  if (ID.test(wanted)) {
    const uid = checked(field, BigInt(wanted));
    return passwd.find((entry) => entry.uid === uid) ?? { name: '', uid, gid: 0, home: '/' };
  }
  const named = passwd.find(({ name }) => name === wanted);
  if (named === undefined) throw invalid(field, `the image has no user "${wanted}"`);
  return named;
};

const findGroup = (field: string, group: string, groups: readonly Group[]): number => {
  if (ID.test(group)) return checked(field, BigInt(group));
  const named = groups.find(({ name }) => name === group);
  if (named === undefined) throw invalid(field, `the image has no group "${group}"`);
  return named.gid;
};
