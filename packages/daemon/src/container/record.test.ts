import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { ContainerConfigSchema, PodSandboxConfigSchema } from '@berth/cri-api';
import { FakeImages } from '../testing/fake-images.ts';
import { metaToJson, parseRecord } from './record.ts';

test('a record is read as it was written, and one from before images had volumes is read too', () => {
  const [image] = new FakeImages().list();
  assert.ok(image);
  const pod = { id: 'p', config: create(PodSandboxConfigSchema) };
  const withVolumes = { ...image, run: { ...image.run, volumes: ['/data'] } };
  const spec = { id: 'c', pod, config: create(ContainerConfigSchema), image: withVolumes, secret: 's' };
  const json = JSON.stringify(metaToJson({ spec, name: 'n', runtime: 'lcr', createdAtNs: 1n }));
  const read = (text: string) => parseRecord(JSON.parse(text), () => undefined)?.spec(pod);
  assert.deepEqual(read(json), spec);
  const old = json.replace('"volumes":["/data"],', '');
  assert.notEqual(old, json);
  assert.deepEqual(read(old)?.image, { ...image, run: { ...image.run, volumes: [] } });
});
