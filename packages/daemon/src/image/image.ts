/** What an image's config says about running it (OCI image-spec `config`). */
export type ImageRunConfig = {
  readonly user: string;
  /** `KEY=value`, in order. */
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly workingDir: string;
  /** `VOLUME`s: absolute container paths, not normalised. */
  readonly volumes: readonly string[];
  /** Name or number; empty: none. */
  readonly stopSignal: string;
  readonly labels: Readonly<Record<string, string>>;
};

export type Image = {
  /** `sha256:<64 hex digits>`, the digest of the image config. */
  readonly id: string;
  /** Full names, normalised: `docker.io/library/busybox:latest`. */
  readonly names: readonly string[];
  /** Bytes on disk of all layers. */
  readonly size: number;
  /** Absolute layer directories, topmost first: overlayfs order. */
  readonly layers: readonly string[];
  readonly run: ImageRunConfig;
};

/** Images as containers and the ImageService see them. */
export interface ImageStore {
  /**
   * By full id, id without `sha256:`, name (a missing tag means `:latest`), or unique id prefix (4 or more digits), in this order.
   * Throws `IMAGE_ID_AMBIGUOUS` where several ids begin so.
   */
  find(reference: string): Image | undefined;
  list(): readonly Image[];
  /**
   * Imports a rootfs tar, OCI archive or docker-archive (plain, gzip or zstd) from a stream. No names: those that the archive gives.
   * After a failure or an abort nothing of it is kept.
   */
  import(source: AsyncIterable<Uint8Array>, names: readonly string[], signal?: AbortSignal): Promise<Image>;
  /** Removes a name, and the image with its layers when no name is left; by id: all names. Refused while `inUse`. Idempotent. */
  remove(reference: string, inUse: (imageId: string) => boolean): Promise<void>;
  /** What ImageFsInfo says: mount point, bytes, inodes. */
  usage(): Promise<{ readonly path: string; readonly bytes: number; readonly inodes: number }>;
}
