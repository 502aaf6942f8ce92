/** Image names: how `busybox` becomes `docker.io/library/busybox:latest` (the grammar of distribution/reference). */
import { BerthError } from '../util/errors.ts';

const DEFAULT_DOMAIN = 'docker.io';
/** The old name of Docker Hub, still found in scripts. */
const LEGACY_DOMAIN = 'index.docker.io';
const OFFICIAL_PREFIX = 'library/';
const DEFAULT_TAG = 'latest';

/** Bytes of a repository name with its domain, as in the distribution specification. */
const MAX_REPOSITORY_LENGTH = 255;

const DOMAIN =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[a-fA-F0-9:]+\])(?::[0-9]{1,5})?$/;
const PATH_COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;

/** 64 hex digits alone would be taken for an image id everywhere. */
const BARE_ID = /^[a-f0-9]{64}$/;

const invalid = (name: string, why: string): BerthError =>
  new BerthError('invalid-argument', 'IMAGE_NAME_INVALID', `"${name}" is no image name: ${why}`);

function splitDomain(repository: string): [domain: string, path: string] {
  const slash = repository.indexOf('/');
  const first = repository.slice(0, slash);
  const isDomain = slash > 0 && (/[.:A-Z[]/.test(first) || first === 'localhost');
  let domain = isDomain ? first : DEFAULT_DOMAIN;
  let path = isDomain ? repository.slice(slash + 1) : repository;
  if (domain === LEGACY_DOMAIN) domain = DEFAULT_DOMAIN;
  if (domain === DEFAULT_DOMAIN && !path.includes('/')) path = OFFICIAL_PREFIX + path;
  return [domain, path];
}

/** Gives the full name with domain and tag; throws `IMAGE_NAME_INVALID` with the reason. A digest is refused: it is no name to give. */
export function normaliseName(name: string): string {
  if (name === '') throw invalid(name, 'it is empty');
  if (name.includes('@')) throw invalid(name, 'a digest follows from the content and cannot be given; use NAME:TAG');
  if (BARE_ID.test(name)) throw invalid(name, 'it looks like an image id');
  const colon = name.lastIndexOf(':');
  const hasTag = colon > name.lastIndexOf('/');
  const repository = hasTag ? name.slice(0, colon) : name;
  const tag = hasTag ? name.slice(colon + 1) : DEFAULT_TAG;
  if (!TAG.test(tag)) throw invalid(name, `the tag "${tag}" may have letters, digits, "_", "." and "-", at most 128 of them`);
  const [domain, path] = splitDomain(repository);
  if (!DOMAIN.test(domain)) throw invalid(name, `"${domain}" is no host name`);
  for (const component of path.split('/')) {
    if (PATH_COMPONENT.test(component)) continue;
    throw invalid(name, `"${component}" may have lower-case letters and digits, with single ".", "_", "__" or "-" between them`);
  }
  if (domain.length + 1 + path.length > MAX_REPOSITORY_LENGTH)
    throw invalid(name, `it is longer than ${MAX_REPOSITORY_LENGTH} bytes`);
  return `${domain}/${path}:${tag}`;
}

export type ImageLookup = {
  /** 64 hex digits. */
  readonly id?: string;
  /** 4 to 63 hex digits. */
  readonly idPrefix?: string;
  /** Normalised. */
  readonly name?: string;
};

/** Says what a reference given to `find` or `remove` can mean; nothing, where it is neither id nor name. */
export function parseReference(reference: string): ImageLookup {
  const id = /^(?:sha256:)?([a-f0-9]{4,64})$/.exec(reference)?.[1];
  if (id?.length === 64) return { id };
  const prefix = id === undefined ? {} : { idPrefix: id };
  // "sha256:abcd" is an id prefix and not the repository "sha256" with a tag.
  if (id !== undefined && reference.startsWith('sha256:')) return prefix;
  // NAME@sha256:ID, what an earlier answer may have been joined to; only our own ids can be found that way.
  const at = /^[^@]+@sha256:([a-f0-9]{64})$/.exec(reference)?.[1];
  if (at !== undefined) return { id: at };
  try {
    return { ...prefix, name: normaliseName(reference) };
  } catch {
    return prefix;
  }
}
