/** What `docker save` writes: manifest.json names the config and the layers. */
import * as v from 'valibot';
import { BerthError } from '../util/errors.ts';
import type { ArchiveImage, Members } from './archive.ts';
import { parseJson } from './image-config.ts';
import { damaged } from './tar-header.ts';

const ManifestSchema = v.pipe(
  v.array(
    v.object({ Config: v.string(), RepoTags: v.nullish(v.array(v.string()), []), Layers: v.nullish(v.array(v.string()), []) }),
  ),
  v.minLength(1),
);

/** The config's file name is its digest, in both layouts that Docker has used. */
const CONFIG_DIGEST = /(?:^|\/)([a-f0-9]{64})(?:\.json)?$/;
const BLOB = /^blobs\/sha256\/([a-f0-9]{64})$/;

/** The names that manifest.json gives; empty where there is none or it is not Docker's. */
export async function dockerNames(members: Members): Promise<readonly string[]> {
  if (!members.has('manifest.json')) return [];
  const manifest = v.safeParse(ManifestSchema, parseJson(v.unknown(), await members.read('manifest.json'), 'manifest.json'));
  return manifest.success && manifest.output.length === 1 ? (manifest.output[0]?.RepoTags ?? []) : [];
}

/** Undefined where manifest.json is not Docker's: any root file system may have a file of that name. */
export async function readDockerArchive(members: Members): Promise<ArchiveImage | undefined> {
  let images: v.InferOutput<typeof ManifestSchema>;
  try {
    images = parseJson(ManifestSchema, await members.read('manifest.json'), 'manifest.json');
  } catch {
    return undefined;
  }
  const [image, ...others] = images;
  if (image === undefined) return undefined;
  if (others.length > 0) throw severalImages(images.flatMap(({ RepoTags }) => RepoTags));
  const config = await members.read(image.Config);
  const digest = CONFIG_DIGEST.exec(image.Config)?.[1];
  if (digest !== undefined && (await members.sha256(image.Config)) !== digest) {
    throw damaged(`the image config does not have the digest in its name, ${digest}`);
  }
  const layers = image.Layers.map((path) => ({ ...members.extent(path), digest: BLOB.exec(path)?.[1] }));
  return { config, layers, names: image.RepoTags };
}

/** An import makes one image. */
export const severalImages = (names: readonly string[]): BerthError =>
  new BerthError(
    'invalid-argument',
    'IMAGE_ARCHIVE_SEVERAL',
    `the archive has several images (${names.slice(0, 5).join(', ')}); save each in an archive of its own`,
  );
