/** The bounds of the image room: what an import may take from the machine. */
export type ImageLimits = {
  /** Bytes of one archive after its outer compression: what an import may spool below the root directory. */
  readonly maxArchiveBytes: number;
  /** Bytes of one layer after decompression. A gzip bomb grows a thousandfold, so the compressed size bounds nothing. */
  readonly maxLayerBytes: number;
  /** Members of one layer. Each costs an inode, which a file system can run out of before its bytes. */
  readonly maxLayerEntries: number;
  /** Layers of one image. */
  readonly maxLayers: number;
  /** Names given to one image in one import. */
  readonly maxNames: number;
};

const GIB = 1024 ** 3;

/** Far above what real images need (the largest known are some tens of GiB), far below what hurts a small disk only by accident. */
export const DEFAULT_IMAGE_LIMITS: ImageLimits = {
  maxArchiveBytes: 64 * GIB,
  maxLayerBytes: 64 * GIB,
  // A full Linux distribution with sources has about one million files.
  maxLayerEntries: 2_000_000,
  // Overlayfs takes at most 500 lower directories; one page of mount options holds about 120 short names. Docker stops at 127.
  maxLayers: 127,
  maxNames: 64,
};

/** Bytes of a manifest, index or config: containerd and Docker stop at 4 to 8 MiB too. */
export const MAX_JSON_BYTES = 4 * 1024 * 1024;

/** Bytes of one extended header (long names, extended attributes): Linux allows 64 KiB per attribute, real ones have a few hundred bytes. */
export const MAX_EXTENDED_HEADER_BYTES = 1024 * 1024;

/** Bytes of a path or link target in an archive: PATH_MAX less the final NUL. */
export const MAX_PATH_BYTES = 4095;

/** `VOLUME`s of one image: real ones have a handful. */
export const MAX_VOLUMES = 256;

/** Bytes of one component of a path: NAME_MAX of Linux's file systems. */
export const MAX_NAME_BYTES = 255;

/** How much is read, decompressed and hashed at a time: larger pieces gain nothing, smaller ones cost a third of gunzip's speed. */
export const CHUNK_BYTES = 256 * 1024;

/** Members that an OCI or Docker archive may have: three per layer and some; an archive with more is a root file system. */
export const MAX_ARCHIVE_MEMBERS = 10_000;
