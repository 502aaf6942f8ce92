/** Archives for tests, written byte by byte: honest ones, odd ones and hostile ones. Shares no code with what reads them. */
import { createHash } from 'node:crypto';

export type Member = {
  path: string;
  /** The type flag; a file where there is none. */
  flag?: string;
  data?: Uint8Array | string;
  link?: string;
  mode?: number;
  uid?: number;
  gid?: number;
  mtime?: number;
  device?: [major: number, minor: number];
  /** Written into a PAX header before the member. */
  pax?: Record<string, string>;
  /** Written as the size, whatever the data is. */
  size?: number;
};

export const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

function header(m: Member, size: number): Buffer {
  const b = Buffer.alloc(512);
  const put = (text: string, at: number) => b.write(text, at, 'latin1');
  const octal = (n: number, width: number) => `${n.toString(8).padStart(width - 1, '0')}\0`;
  put(m.path.slice(0, 100), 0);
  put(octal(m.mode ?? (m.flag === '5' ? 0o755 : 0o644), 8), 100);
  put(octal(m.uid ?? 0, 8), 108);
  put(octal(m.gid ?? 0, 8), 116);
  put(octal(m.size ?? size, 12), 124);
  put(octal(m.mtime ?? 1_600_000_000, 12), 136);
  put(m.flag ?? '0', 156);
  put((m.link ?? '').slice(0, 100), 157);
  put('ustar\x0000', 257);
  put(octal(m.device?.[0] ?? 0, 8), 329);
  put(octal(m.device?.[1] ?? 0, 8), 337);
  b.fill(0x20, 148, 156);
  let sum = 0;
  for (const byte of b) sum += byte;
  put(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return b;
}

const padded = (data: Buffer): Buffer => Buffer.concat([data, Buffer.alloc((512 - (data.length % 512)) % 512)]);

function record(key: string, value: string): string {
  for (let length = key.length + value.length + 3; ; length++) {
    const text = `${length} ${key}=${value}\n`;
    if (text.length === length) return text;
  }
}

/** One member with all that comes before and after it. */
export function member(m: Member): Buffer {
  const data = Buffer.from(m.data ?? '');
  const pieces: Buffer[] = [];
  if (m.pax !== undefined) {
    const records = Buffer.from(
      Object.entries(m.pax)
        .map(([key, value]) => record(key, value))
        .join(''),
      'latin1',
    );
    pieces.push(header({ path: 'pax', flag: 'x' }, records.length), padded(records));
  }
  if (m.path.length > 100 && m.pax?.['path'] === undefined) {
    const name = Buffer.from(`${m.path}\0`, 'latin1');
    pieces.push(header({ path: '././@LongLink', flag: 'L' }, name.length), padded(name));
  }
  pieces.push(header(m, data.length), padded(data));
  return Buffer.concat(pieces);
}

export const tar = (...members: Member[]): Buffer => Buffer.concat([...members.map(member), Buffer.alloc(1024)]);

export type ImageSpec = {
  /** Plain tars, lowest first. */
  layers: Buffer[];
  /** How a layer is stored; as it is where there is none. */
  compress?: (layer: Buffer) => Buffer;
  config?: object | null;
  os?: string;
  architecture?: string;
  names?: string[];
};

const HOST = process.arch === 'x64' ? 'amd64' : process.arch;

export const configOf = (spec: ImageSpec): Buffer =>
  Buffer.from(
    JSON.stringify({
      os: spec.os ?? 'linux',
      architecture: spec.architecture ?? HOST,
      config: spec.config === undefined ? {} : spec.config,
      rootfs: { type: 'layers', diff_ids: spec.layers.map((layer) => `sha256:${sha256(layer)}`) },
    }),
  );

/** What docker save wrote up to version 24: one directory per layer, manifest.json last. */
export function dockerArchive(spec: ImageSpec): Buffer {
  const config = configOf(spec);
  const layers = spec.layers.map(
    (layer, i): Member => ({ path: `${i}${'a'.repeat(63)}/layer.tar`, data: spec.compress?.(layer) ?? layer }),
  );
  const manifest = [{ Config: `${sha256(config)}.json`, RepoTags: spec.names ?? null, Layers: layers.map(({ path }) => path) }];
  return tar(
    ...layers,
    { path: `${sha256(config)}.json`, data: config },
    { path: 'manifest.json', data: JSON.stringify(manifest) },
  );
}

type Blob = { digest: string; size: number; mediaType: string };

/** An OCI layout with one image per spec, listed in index.json with its platform. */
export function ociArchive(specs: ImageSpec[], change: (path: string, data: Buffer) => Buffer = (_, data) => data): Buffer {
  const blobs = new Map<string, Buffer>();
  const blob = (data: Buffer, mediaType: string): Blob => {
    const digest = sha256(data);
    blobs.set(`blobs/sha256/${digest}`, data);
    return { digest: `sha256:${digest}`, size: data.length, mediaType };
  };
  const manifests = specs.map((spec) => {
    const config = blob(configOf(spec), 'application/vnd.oci.image.config.v1+json');
    const layers = spec.layers.map((layer) => blob(spec.compress?.(layer) ?? layer, 'application/vnd.oci.image.layer.v1.tar'));
    const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, config, layers }));
    const annotations = spec.names === undefined ? {} : { annotations: { 'io.containerd.image.name': spec.names[0] } };
    return {
      ...blob(manifest, 'application/vnd.oci.image.manifest.v1+json'),
      platform: { os: spec.os ?? 'linux', architecture: spec.architecture ?? HOST },
      ...annotations,
    };
  });
  return tar(
    { path: 'oci-layout', data: '{"imageLayoutVersion":"1.0.0"}' },
    { path: 'index.json', data: JSON.stringify({ schemaVersion: 2, manifests }) },
    ...[...blobs].map(([path, data]): Member => ({ path, data: change(path, data) })),
  );
}

/** The bytes in pieces of odd sizes, as a network brings them. */
export async function* inPieces(data: Uint8Array, size = 65_537): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size);
}
