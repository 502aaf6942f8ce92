// Messages as the JSON that protobuf defines for them: what programs read.
import { type DescMessage, type JsonValue, type MessageShape, toJson } from '@bufbuild/protobuf';

/** Proto-JSON: names in lowerCamelCase, 64-bit numbers as strings, fields with default values written out. */
export function messageToJson<D extends DescMessage>(schema: D, message: MessageShape<D>): JsonValue {
  return toJson(schema, message, { alwaysEmitImplicit: true });
}
