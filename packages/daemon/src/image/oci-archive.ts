/** An OCI image layout in a tar: index.json leads to manifests, these to config and layers, all by digest. */
import * as v from 'valibot';
import { BerthError } from '../util/errors.ts';
import type { ArchiveImage, ArchiveLayer, Members } from './archive.ts';
import { dockerNames, severalImages } from './docker-archive.ts';
import { hexOf, parseJson } from './image-config.ts';
import type { Platform } from './platform.ts';
import { damaged } from './tar-header.ts';

const DescriptorSchema = v.object({
  mediaType: v.nullish(v.string(), ''),
  digest: v.string(),
  platform: v.nullish(
    v.object({ os: v.nullish(v.string(), ''), architecture: v.nullish(v.string(), ''), variant: v.nullish(v.string(), '') }),
  ),
  annotations: v.nullish(v.record(v.string(), v.string()), {}),
});

const IndexSchema = v.object({ manifests: v.array(DescriptorSchema) });
const ManifestSchema = v.object({ config: DescriptorSchema, layers: v.array(DescriptorSchema) });

type Descriptor = v.InferOutput<typeof DescriptorSchema>;

const INDEX_TYPES = new Set([
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
]);
const MANIFEST_TYPES = new Set([
  '',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
]);

/** Indexes in indexes: real ones have one level. The bound is there for those that name themselves. */
const MAX_INDEX_DEPTH = 4;

/** Manifests looked at in one archive; multi-platform images have up to about twenty. */
const MAX_MANIFESTS = 1000;

/** containerd and Docker put the full name here; the OCI annotation often has only the tag. */
const NAME_ANNOTATIONS = ['io.containerd.image.name', 'org.opencontainers.image.ref.name'];

const blobPath = (digest: string): string => `blobs/sha256/${hexOf(digest)}`;

async function readBlob(members: Members, digest: string): Promise<Buffer> {
  const path = blobPath(digest);
  const bytes = await members.read(path);
  if ((await members.sha256(path)) !== hexOf(digest)) throw damaged(`the blob ${digest} has other content than its digest says`);
  return bytes;
}

const fits = (descriptor: Descriptor, host: Platform): boolean =>
  !descriptor.platform ||
  ((descriptor.platform.os || host.os) === host.os &&
    (descriptor.platform.architecture || host.architecture) === host.architecture);

type Found = {
  readonly fitting: Map<string, Descriptor>;
  readonly others: Set<string>;
  readonly names: Map<string, string[]>;
  seen: number;
};

const nameOf = (descriptor: Descriptor): string | undefined =>
  NAME_ANNOTATIONS.map((key) => descriptor.annotations?.[key]).find((name) => name !== undefined && /[/:]/.test(name));

/** Collects the manifests that this machine can run; a name given to an index is that of what is in it. */
async function collect(
  members: Members,
  index: readonly Descriptor[],
  host: Platform,
  found: Found,
  depth: number,
  parent?: string,
): Promise<void> {
  for (const descriptor of index) {
    if (++found.seen > MAX_MANIFESTS || depth > MAX_INDEX_DEPTH) throw damaged('its index is larger or deeper than any real one');
    const name = nameOf(descriptor) ?? parent;
    if (INDEX_TYPES.has(descriptor.mediaType ?? '')) {
      // A save of one platform keeps the whole index; what it left out is simply not there.
      if (!members.has(blobPath(descriptor.digest))) continue;
      const inner = parseJson(IndexSchema, await readBlob(members, descriptor.digest), 'an image index');
      await collect(members, inner.manifests, host, found, depth + 1, name);
    } else if (MANIFEST_TYPES.has(descriptor.mediaType ?? '')) {
      const { os, architecture } = descriptor.platform ?? {};
      if (!fits(descriptor, host)) found.others.add(`${os}/${architecture}`);
      else if (members.has(blobPath(descriptor.digest))) {
        found.fitting.set(descriptor.digest, descriptor);
        if (name !== undefined) found.names.set(descriptor.digest, [...(found.names.get(descriptor.digest) ?? []), name]);
      }
    }
  }
}

function noneFits(found: Found, host: Platform): BerthError {
  // Attestations are listed as unknown/unknown.
  const others = [...found.others].filter((platform) => !platform.startsWith('unknown/'));
  if (others.length === 0) return damaged('no manifest that its index names is in it');
  return new BerthError(
    'failed-precondition',
    'IMAGE_WRONG_PLATFORM',
    `the image is for ${others.join(', ')}, and this machine runs ${host.os}/${host.architecture}`,
  );
}

/** Picks the one image for this machine. Of several variants of its architecture the plain one is taken, else the first. */
export async function readOciArchive(members: Members, host: Platform): Promise<ArchiveImage> {
  const index = parseJson(IndexSchema, await members.read('index.json'), 'index.json');
  const found: Found = { fitting: new Map(), others: new Set(), names: new Map(), seen: 0 };
  await collect(members, index.manifests, host, found, 1);
  const candidates = [...found.fitting.values()];
  const chosen = candidates.find((candidate) => !candidate.platform?.variant) ?? candidates[0];
  if (chosen === undefined) throw noneFits(found, host);
  const names = [...new Set([...found.names.values()].flat())];
  const isOneImage = candidates.every(
    ({ platform, digest }) => digest === chosen.digest || (!!platform && platform.variant !== chosen.platform?.variant),
  );
  if (!isOneImage) throw severalImages(names);

  const manifest = parseJson(ManifestSchema, await readBlob(members, chosen.digest), 'the image manifest');
  const config = await readBlob(members, manifest.config.digest);
  const layers = manifest.layers.map(
    (layer): ArchiveLayer => ({ ...members.extent(blobPath(layer.digest)), digest: hexOf(layer.digest) }),
  );
  const own = found.names.get(chosen.digest) ?? [];
  return { config, layers, names: own.length > 0 ? [...new Set(own)] : await dockerNames(members) };
}
