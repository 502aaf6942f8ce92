/** Pods as files: `record.json` holds what never changes, `status.json` what does. */
import { PodSandboxConfigSchema } from '@berth/cri-api';
import { fromJson, toJson } from '@bufbuild/protobuf';
import * as v from 'valibot';
import { nsSchema, protoJsonSchema } from '../util/schemas.ts';
import type { PodMeta, PodStatus } from './pod.ts';

const recordSchema = v.object({
  id: v.string(),
  name: v.string(),
  runtimeHandler: v.string(),
  createdAtNs: nsSchema,
  config: protoJsonSchema,
});

const statusSchema = v.object({
  state: v.picklist(['ready', 'notready']),
  removing: v.boolean(),
  bootId: v.string(),
  resources: v.object({ netns: v.exactOptional(v.string()) }),
});

export function podToJson(meta: PodMeta): object {
  const { spec, name, runtimeHandler, createdAtNs } = meta;
  return { id: spec.id, name, runtimeHandler, createdAtNs: `${createdAtNs}`, config: toJson(PodSandboxConfigSchema, spec.config) };
}

/** Undefined when it is not a complete record. */
export function parsePod(json: unknown): PodMeta | undefined {
  const parsed = v.safeParse(recordSchema, json);
  if (!parsed.success) return undefined;
  const { id, config, ...rest } = parsed.output;
  return { ...rest, spec: { id, config: fromJson(PodSandboxConfigSchema, config, { ignoreUnknownFields: true }) } };
}

export const podStatusToJson = (status: PodStatus): object => status;

/** Undefined when it is not a complete status: the pod is half-made. */
export function parsePodStatus(json: unknown): PodStatus | undefined {
  const parsed = v.safeParse(statusSchema, json);
  return parsed.success ? parsed.output : undefined;
}
