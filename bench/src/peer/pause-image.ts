/** The image that the peer's pods begin with: one static program of some tens of KB, as a docker archive. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { arch } from 'node:process';

const BLOCK = 512;
const CHECKSUM = { from: 148, to: 156 };

const member = (name: string, mode: number, data: Buffer): Buffer => {
  const header = Buffer.alloc(BLOCK);
  header.write(name, 0, 'latin1');
  header.write(`${mode.toString(8).padStart(7, '0')}\0`, 100, 'latin1');
  header.write('0000000\u00000000000\u0000', 108, 'latin1');
  header.write(`${data.length.toString(8).padStart(11, '0')}\u000000000000000\u0000`, 124, 'latin1');
  header.write('0', 156, 'latin1');
  header.write('ustar\u000000', 257, 'latin1');
  header.fill(' ', CHECKSUM.from, CHECKSUM.to);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, CHECKSUM.from, 'latin1');
  return Buffer.concat([header, data, Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK)]);
};

const archive = (...members: readonly Buffer[]): Buffer => Buffer.concat([...members, Buffer.alloc(2 * BLOCK)]);
const sha256 = (data: Buffer): string => createHash('sha256').update(data).digest('hex');
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

/** @param agent path of the program, @param name of the image, tag included */
export const pauseImage = async (agent: string, name: string): Promise<Buffer> => {
  const layer = archive(member('agent', 0o755, await readFile(agent)));
  const config = json({
    architecture: arch === 'x64' ? 'amd64' : arch,
    os: 'linux',
    config: { Entrypoint: ['/agent', 'pause'] },
    rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(layer)}`] },
  });
  const [configName, layerName] = [`${sha256(config)}.json`, `${sha256(layer)}/layer.tar`];
  const manifest = json([{ Config: configName, RepoTags: [name], Layers: [layerName] }]);
  return archive(member('manifest.json', 0o644, manifest), member(configName, 0o644, config), member(layerName, 0o644, layer));
};
