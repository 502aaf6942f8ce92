/** Pieces of the schemas by which records are checked when they are read back. */
import type { JsonObject } from '@bufbuild/protobuf';
import * as v from 'valibot';

/** Nanoseconds since 1970, written as a string: JSON numbers cannot hold them. */
export const nsSchema = v.pipe(
  v.string(),
  v.regex(/^\d{1,20}$/),
  v.transform((text) => BigInt(text)),
);

/** A message as proto-JSON; protobuf's own parser checks what is inside. */
export const protoJsonSchema = v.custom<JsonObject>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
);
