/** Containers as files: `record.json` holds what never changes, `status.json` what does. Proto-JSON for what came over CRI. */
import { ContainerConfigSchema, LinuxContainerResourcesSchema } from '@berth/cri-api';
import { fromJson, toJson } from '@bufbuild/protobuf';
import * as v from 'valibot';
import type { Image } from '../image/image.ts';
import type { PodSpec } from '../runtime/runtime.ts';
import { nsSchema, protoJsonSchema } from '../util/schemas.ts';
import type { ContainerMeta } from './container.ts';
import type { ContainerStatus } from './status.ts';

const strings = v.array(v.string());

const imageSchema = v.object({
  id: v.string(),
  names: strings,
  size: v.number(),
  layers: strings,
  run: v.object({
    user: v.string(),
    env: strings,
    entrypoint: strings,
    cmd: strings,
    workingDir: v.string(),
    // Absent: written before they were read.
    volumes: v.optional(strings, []),
    stopSignal: v.string(),
    labels: v.record(v.string(), v.string()),
  }),
});

const recordSchema = v.object({
  id: v.string(),
  pod: v.string(),
  name: v.string(),
  runtime: v.string(),
  secret: v.string(),
  createdAtNs: nsSchema,
  image: imageSchema,
  config: protoJsonSchema,
});

/** A container's record, still without its pod. */
export type ContainerRecord = Omit<ContainerMeta, 'spec'> & {
  readonly podId: string;
  /** Puts the pod in. */
  spec(pod: PodSpec): ContainerMeta['spec'];
};

export function metaToJson(meta: ContainerMeta): object {
  const { spec, name, runtime, createdAtNs } = meta;
  return {
    id: spec.id,
    pod: spec.pod.id,
    name,
    runtime,
    secret: spec.secret,
    createdAtNs: `${createdAtNs}`,
    image: spec.image,
    config: toJson(ContainerConfigSchema, spec.config),
  };
}

/** Undefined when it is not a complete record. `findImage` spares memory: containers of one image share one object. */
export function parseRecord(json: unknown, findImage: (id: string) => Image | undefined): ContainerRecord | undefined {
  const parsed = v.safeParse(recordSchema, json);
  if (!parsed.success) return undefined;
  const { id, pod: podId, name, runtime, secret, createdAtNs, config: configJson } = parsed.output;
  const image = findImage(parsed.output.image.id) ?? parsed.output.image;
  const config = fromJson(ContainerConfigSchema, configJson, { ignoreUnknownFields: true });
  return { podId, name, runtime, createdAtNs, spec: (pod) => ({ id, pod, config, image, secret }) };
}

const exitSchema = v.object({
  kind: v.picklist(['exited', 'signaled', 'unknown']),
  code: v.number(),
  signal: v.number(),
  oom: v.boolean(),
  finishedAtNs: nsSchema,
  reason: v.string(),
  message: v.string(),
});

const statusSchema = v.object({
  state: v.picklist(['created', 'starting', 'running', 'exited', 'unknown']),
  removing: v.boolean(),
  bootId: v.string(),
  stopSignal: v.number(),
  user: v.object({ uid: v.number(), gid: v.number(), groups: v.array(v.number()) }),
  logPath: v.exactOptional(v.string()),
  pid: v.exactOptional(v.number()),
  pidStartTime: v.exactOptional(v.string()),
  startedAtNs: v.exactOptional(nsSchema),
  exit: v.exactOptional(exitSchema),
  resources: v.exactOptional(protoJsonSchema),
});

export function statusToJson(status: ContainerStatus): object {
  const { startedAtNs, exit, resources, ...rest } = status;
  return {
    ...rest,
    ...(startedAtNs === undefined ? {} : { startedAtNs: `${startedAtNs}` }),
    ...(exit === undefined ? {} : { exit: { ...exit, finishedAtNs: `${exit.finishedAtNs}` } }),
    ...(resources === undefined ? {} : { resources: toJson(LinuxContainerResourcesSchema, resources) }),
  };
}

/** Undefined when it is not a complete status: the container is half-made. */
export function parseStatus(json: unknown): ContainerStatus | undefined {
  const parsed = v.safeParse(statusSchema, json);
  if (!parsed.success) return undefined;
  const { resources, ...noted } = parsed.output;
  const rest = noted.pid === 0 ? unstarted(noted) : noted;
  if (resources === undefined) return rest;
  return { ...rest, resources: fromJson(LinuxContainerResourcesSchema, resources, { ignoreUnknownFields: true }) };
}

/** A daemon of before could take a shim that was starting for one that runs, and noted pid 0: the start may still go on. */
function unstarted({ pid: _pid, startedAtNs: _startedAtNs, ...rest }: ContainerStatus): ContainerStatus {
  return rest.state === 'running' ? { ...rest, state: 'starting' } : rest;
}
