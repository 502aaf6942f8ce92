// The public face of the client library.
export { type AttachOptions, attach } from './attach/attach.ts';
export {
  type AttachSession,
  type AttachStreamOptions,
  attachStream,
  type ClientTls,
  type SessionEnd,
  type StreamOptions,
} from './attach/attach-stream.ts';
export { type ExecEnd, type ExecOptions, type ExecSession, exec } from './attach/exec.ts';
export type { Input } from './attach/input.ts';
export type { Output } from './attach/output.ts';
export { AttachRefused, SessionFailed, StreamLost } from './attach/stream-lost.ts';
export { type BerthClient, connect, DEFAULT_SOCKET } from './connect.ts';
export { messageToJson } from './json.ts';
export { RpcError, type RpcStatus } from './rpc-error.ts';
export { type CallOptions, DEFAULT_TIMEOUT_MS, type ServiceClient } from './service-client.ts';
