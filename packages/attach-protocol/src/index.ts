// The public face of the attach protocol: the wire truth that daemon, client and browser share. No Node imports here.

export { decodeBase64, encodeBase64 } from './base64.ts';
export { CHANNEL, LAST_DATA_CHANNEL } from './channels.ts';
export type { ChannelMessage } from './message.ts';
export { decodeMessage, encodeClose, encodeMessage } from './message.ts';
export type { WireStatus } from './status.ts';
export {
  decodeStatus,
  encodeStatus,
  exitCodeOf,
  exitCodeStatus,
  failureStatus,
  REASON_INTERNAL_ERROR,
  REASON_NON_ZERO_EXIT_CODE,
  successStatus,
} from './status.ts';
export type { Subprotocol, SubprotocolName } from './subprotocols.ts';
export { chooseSubprotocol, SUBPROTOCOL_NAMES, SUBPROTOCOLS, subprotocolByName } from './subprotocols.ts';
export type { WireSize } from './terminal-size.ts';
export { encodeSize, SizeDecoder } from './terminal-size.ts';
