/** What a handler gets beside its request, and how handlers are tied to the methods of a service. */
import type { DescMessage, DescMethod, DescService, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import type { Log } from '../util/log.ts';

export type Call = {
  /** Aborted when the client has gone or its deadline is over; the reason is a BerthError. */
  readonly signal: AbortSignal;
  /** Milliseconds since 1970; undefined when the client waits for ever. */
  readonly deadline: number | undefined;
  readonly log: Log;
  /** Who calls, as gRPC names it. */
  readonly peer: string;
  /** API version by whose name the method was called: `v1`, `v1alpha2`. */
  readonly api: string;
};

/** Handlers of a service by method name; a method without one is not built. Server-streaming methods are not built at all yet. */
export type Handlers<S extends { readonly method: object }> = {
  readonly [K in keyof S['method']]?: S['method'][K] extends {
    methodKind: infer Kind;
    input: infer I extends DescMessage;
    output: infer O extends DescMessage;
  }
    ? Kind extends 'unary'
      ? (request: MessageShape<I>, call: Call) => Promise<MessageInitShape<O>>
      : Kind extends 'client_streaming'
        ? (requests: AsyncIterable<MessageShape<I>>, call: Call) => Promise<MessageInitShape<O>>
        : never
    : never;
};

/** A method with its handler, types erased: what the adapter works with. */
export type BoundMethod = {
  readonly descriptor: DescMethod;
  /** Undefined: not built. */
  readonly handler: ((request: never, call: Call) => Promise<MessageInitShape<DescMessage>>) | undefined;
};

/** A service under one wire name: CRI is served under two. */
export type BoundService = {
  /** `runtime.v1.RuntimeService` */
  readonly wireName: string;
  readonly api: string;
  readonly methods: readonly BoundMethod[];
};

/** Ties handlers to a service's methods; the types are checked here and erased behind. */
export function bindService<S extends DescService>(service: S, handlers: Handlers<S>, wireName: string, api: string): BoundService {
  const byName: Readonly<Record<string, unknown>> = handlers;
  return {
    wireName,
    api,
    methods: service.methods.map((descriptor) => ({
      descriptor,
      handler: byName[descriptor.localName] as BoundMethod['handler'],
    })),
  };
}
