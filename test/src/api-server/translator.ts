/** WebSocket v5 of a client to SPDY v4 towards the daemon: what the API server (1.30 to 1.35) or kubelet (since 1.36) does. */
import { CHANNEL, encodeMessage, successStatus, SUBPROTOCOLS } from '@berth/attach-protocol';
import { type WebSocket, WebSocketServer } from 'ws';
import { SpdyConnection, type SpdyStream } from './spdy-connection.ts';
import type { Upgrade } from './streams.ts';

const V5 = SUBPROTOCOLS['v5.channel.k8s.io'];
/** More than this on its way to a client holds the daemon back. */
const SEND_AHEAD_BYTES = 1024 * 1024;

/** @throws UpgradeRefused before the client is answered */
export async function translate(
  { request, socket, head }: Upgrade,
  target: URL,
  query: URLSearchParams,
  fault: (text: string) => void,
): Promise<void> {
  const spdy = await SpdyConnection.open(target);
  const asked = (name: string): boolean => query.get(name) === 'true';
  const open = async (streamtype: string): Promise<SpdyStream> => await spdy.stream({ streamtype });
  // In the order of Go clients, each after the answer to the one before.
  const error = await open('error');
  const status = error.read();
  const stdin = asked('stdin') ? await open('stdin') : undefined;
  const outputs: { channel: number; stream: SpdyStream }[] = [];
  for (const [name, channel] of [
    ['stdout', CHANNEL.stdout],
    ['stderr', CHANNEL.stderr],
  ] as const) {
    if (!asked(name) || (name === 'stderr' && asked('tty'))) continue;
    outputs.push({ channel, stream: await open(name) });
  }
  const resize = asked('tty') ? await open('resize') : undefined;

  const server = new WebSocketServer({ noServer: true, perMessageDeflate: false, handleProtocols: () => V5.name });
  const client = await new Promise<WebSocket>((resolve) => server.handleUpgrade(request, socket, head, resolve));
  const send = (message: Uint8Array): void => {
    client.send(message, () => {
      if (client.bufferedAmount <= SEND_AHEAD_BYTES) spdy.socket.resume();
    });
    if (client.bufferedAmount > SEND_AHEAD_BYTES) spdy.socket.pause();
  };
  for (const { channel, stream } of outputs) stream.onData = (bytes) => send(Buffer.concat([Buffer.of(channel), bytes]));
  client.on('message', (message: Buffer) => {
    const payload = message.subarray(1);
    if (message[0] === CHANNEL.close && message[1] === CHANNEL.stdin) stdin?.end();
    const stream = message[0] === CHANNEL.stdin ? stdin : message[0] === CHANNEL.resize ? resize : undefined;
    if (payload.length === 0 || stream?.write(payload) !== false) return;
    client.pause();
    void spdy.drained().then(() => client.resume());
  });
  let left = false;
  client.on('close', () => {
    left = true;
    spdy.destroy();
  });
  client.on('error', () => client.terminate());

  const ends = await Promise.all([...outputs.map(async ({ stream }) => await stream.ended), error.ended]);
  if (left) return;
  // A connection that is lost looks to Go clients like a session that went well: here it is a fault.
  if (ends.includes('lost')) fault(`the daemon ended a SPDY session without ending its streams: ${ends.join(', ')}`);
  const text = await status;
  send(encodeMessage(V5, CHANNEL.status, text.length > 0 ? text : Buffer.from(JSON.stringify(successStatus()))) as Uint8Array);
  client.close(1000);
  spdy.close();
}
