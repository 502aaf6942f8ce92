/** Turns handlers into what grpc-js serves. Nothing else in the daemon knows grpc-js: another gRPC server would replace this, errors and server. */
import type { EventEmitter } from 'node:events';
import { create, type DescMessage, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import type {
  handleClientStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  sendUnaryData,
  ServerUnaryCall,
  ServiceDefinition,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { BerthError } from '../util/errors.ts';
import type { Log } from '../util/log.ts';
import { sleep } from '../util/wait.ts';
import type { BoundMethod, BoundService, Call } from './call.ts';
import { notBuilt } from './errors.ts';
import { type Instruments, instrument } from './instrument.ts';
import type { RpcName } from './rpc-stats.ts';

export type GrpcService = { readonly definition: ServiceDefinition; readonly implementation: UntypedServiceImplementation };

/** A service as grpc-js takes it. */
export function adapt(service: BoundService, instruments: Instruments): GrpcService {
  const definition: Record<string, ServiceDefinition[string]> = {};
  const implementation: UntypedServiceImplementation = {};
  for (const method of service.methods) {
    const { name, input, output, methodKind } = method.descriptor;
    definition[name] = {
      path: `/${service.wireName}/${name}`,
      requestStream: methodKind === 'client_streaming' || methodKind === 'bidi_streaming',
      responseStream: methodKind === 'server_streaming' || methodKind === 'bidi_streaming',
      requestSerialize: (message: Message) => encode(input, message),
      requestDeserialize: (bytes: Buffer) => fromBinary(input, bytes),
      responseSerialize: (message: Message) => encode(output, message),
      responseDeserialize: (bytes: Buffer) => fromBinary(output, bytes),
    };
    implementation[name] = implement(service, method, instruments);
  }
  return { definition, implementation };
}

/** A view of the bytes, not a copy. */
function encode(schema: DescMessage, message: Message): Buffer {
  const bytes = toBinary(schema, message);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function implement(service: BoundService, method: BoundMethod, instruments: Instruments): UntypedServiceImplementation[string] {
  const { name, output, methodKind } = method.descriptor;
  const { log } = instruments;
  const rpc: RpcName = { service: service.wireName, method: name };
  if (methodKind === 'server_streaming' || methodKind === 'bidi_streaming') {
    const refuse: handleServerStreamingCall<Message, Message> = (stream) => void refuseStream(stream, rpc, instruments);
    return refuse;
  }
  const answer = async (request: unknown, context: Call, reply: sendUnaryData<Message>): Promise<void> => {
    const outcome = await instrument(rpc, instruments, async () => {
      if (method.handler === undefined) throw notBuilt(service.wireName, name);
      return create(output, await method.handler(request as never, context));
    });
    if ('failure' in outcome) reply(outcome.failure);
    else reply(null, outcome.value);
  };
  if (methodKind === 'client_streaming') {
    const handle: handleClientStreamingCall<Message, Message> = (stream, reply) => {
      const call = callOf(stream, service.api, log);
      void answer(untilRealEnd(stream, call.signal), call, reply);
    };
    return handle;
  }
  const handle: handleUnaryCall<Message, Message> = (unary, reply) =>
    void answer(unary.request, callOf(unary, service.api, log), reply);
  return handle;
}

/**
 * When a client goes away HTTP/2 ends the stream of its messages a moment before it closes the call, so that what was cut off looks whole.
 * The call's close follows within the same turn or two of the event loop; this is far beyond that, and only streams pay for it.
 */
const CUT_OFF_MS = 50;

async function* untilRealEnd(messages: AsyncIterable<unknown>, signal: AbortSignal): AsyncGenerator {
  yield* messages;
  await sleep(CUT_OFF_MS, signal);
}

async function refuseStream(stream: EventEmitter, rpc: RpcName, instruments: Instruments): Promise<void> {
  const outcome = await instrument(rpc, instruments, () => Promise.reject(notBuilt(rpc.service, rpc.method)));
  if ('failure' in outcome) stream.emit('error', outcome.failure);
}

/** What unary and streaming calls have in common; their typed listeners differ. */
type AnyCall = Pick<ServerUnaryCall<Message, Message>, 'getDeadline' | 'getPeer'> & EventEmitter;

function callOf(grpc: AnyCall, api: string, log: Log): Call {
  const deadline = grpc.getDeadline();
  const at = deadline instanceof Date ? deadline.getTime() : deadline;
  const controller = new AbortController();
  grpc.once('cancelled', () =>
    controller.abort(new BerthError('deadline-exceeded', 'CALL_ENDED', 'the client has gone or its deadline is over')),
  );
  return { signal: controller.signal, deadline: Number.isFinite(at) ? at : undefined, log, peer: grpc.getPeer(), api };
}
