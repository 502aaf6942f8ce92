/** A WebSocket whose client's bytes a test writes itself, to the bit, and whose server's frames it reads. */
import { serverFrames } from '../../packages/daemon/src/transport/websocket/test-frames.ts';
import type { RawConnection } from './http.ts';
import { eventually } from './processes.ts';

export const OPCODE = { more: 0x0, text: 0x1, binary: 0x2, close: 0x8, ping: 0x9, pong: 0xa } as const;

type Frame = { readonly opcode: number; readonly payload: Buffer };

export class RawWebSocket implements Disposable {
  readonly connection: RawConnection;

  /** Over a connection that has been upgraded. */
  constructor(connection: RawConnection) {
    this.connection = connection;
  }

  /** What the server has chosen. */
  get protocol(): string | undefined {
    return /^sec-websocket-protocol: *(\S*)/im.exec(this.connection.received.toString('latin1'))?.[1];
  }

  send(...all: readonly Buffer[]): void {
    for (const each of all) this.connection.socket.write(each);
  }

  get frames(): Frame[] {
    const { received } = this.connection;
    const frames = serverFrames(received.subarray(received.indexOf('\r\n\r\n') + 4));
    return Array.from(frames, ({ opcode, payload }) => ({ opcode, payload }));
  }

  /** What came on a channel of a binary protocol, or of a base64 one. */
  channel(number: number, base64 = false): string {
    return this.frames
      .filter(
        ({ opcode, payload }) =>
          opcode === (base64 ? OPCODE.text : OPCODE.binary) && payload[0] === (base64 ? 48 + number : number),
      )
      .map(({ payload }) =>
        (base64 ? Buffer.from(payload.toString('latin1', 1), 'base64') : payload.subarray(1)).toString('latin1'),
      )
      .join('');
  }

  async sees(number: number, wanted: string, base64 = false): Promise<void> {
    await eventually(
      () => `channel ${number} is ${JSON.stringify(wanted)}; it is ${JSON.stringify(this.channel(number, base64))}`,
      () => this.channel(number, base64) === wanted,
    );
  }

  /** The server's close frame and then the end of the connection. */
  async closes(): Promise<number | undefined> {
    await this.connection.gone();
    return this.frames.find(({ opcode }) => opcode === OPCODE.close)?.payload.readUInt16BE();
  }

  [Symbol.dispose](): void {
    this.connection[Symbol.dispose]();
  }
}
