/** Reads what a streaming server has answered, strictly: HTTP as it must be, and behind a 101 frames as they must be. */
import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { FrameParser } from '../transport/spdy/frame-parser.ts';
import { serverFrames } from '../transport/websocket/test-frames.ts';

const STATUS_LINE = /^HTTP\/1\.1 ([1-5]\d\d) [A-Za-z ]+$/;
const LAST_CHUNK = '0\r\n\r\n';
const HEADER = /^[A-Za-z-]+: [\x20-\x7e]*$/;

/**
 * The statuses of all answers, in order. What is behind a 101 is not looked at where answers to `earlier` requests may stand in it.
 * @throws AssertionError where anything is malformed
 */
export function readAnswers(bytes: Buffer, earlier: boolean): number[] {
  const statuses: number[] = [];
  for (let rest = bytes; rest.length > 0; ) {
    const headEnd = rest.indexOf('\r\n\r\n');
    assert.ok(headEnd > 0, 'an answer has a whole head');
    const [line = '', ...headers] = rest.subarray(0, headEnd).toString('latin1').split('\r\n');
    const status = Number(STATUS_LINE.exec(line)?.[1]);
    assert.ok(status > 0, `a status line: ${JSON.stringify(line)}`);
    for (const header of headers) assert.match(header, HEADER);
    statuses.push(status);
    const valueOf = (name: string): string | undefined =>
      headers.find((header) => header.toLowerCase().startsWith(`${name}: `))?.slice(name.length + 2);
    rest = rest.subarray(headEnd + 4);
    if (status === 101) {
      assert.equal(valueOf('content-length'), undefined);
      if (!earlier) readFrames(rest, valueOf('upgrade'), valueOf('sec-websocket-protocol'));
      return statuses;
    }
    if (status === 100) continue;
    // An expectation that fails is Node's to answer, and the connection goes on.
    assert.equal(valueOf('connection'), status === 417 ? 'keep-alive' : 'close');
    // Node's own answer to a request without Host; ours always have a length.
    const isChunked = valueOf('transfer-encoding') === 'chunked';
    const length = isChunked ? LAST_CHUNK.length : Number(valueOf('content-length') ?? 0);
    // An answer to HEAD has none.
    assert.ok(rest.length === 0 || rest.length >= length, `a body of ${length} bytes, not ${rest.length}`);
    if (isChunked && rest.length > 0) assert.equal(rest.subarray(0, length).toString('latin1'), LAST_CHUNK);
    rest = rest.subarray(length);
  }
  return statuses;
}

/** The last frame may be cut off, by an end at once. */
function readFrames(bytes: Buffer, upgrade: string | undefined, subprotocol: string | undefined): void {
  if (upgrade === 'SPDY/3.1') return readSpdy(bytes);
  assert.equal(upgrade, 'websocket');
  const payloads: Buffer[] = [];
  for (const { opcode, payload, end } of serverFrames(bytes)) {
    assert.ok([1, 2, 8, 9, 10].includes(opcode), `opcode ${opcode}`);
    if (opcode === 2) payloads.push(payload);
    if (opcode === 8) assert.equal(end, bytes.length, 'nothing behind a close frame');
  }
  if (subprotocol?.startsWith('SPDY') === true) readSpdy(Buffer.concat(payloads));
}

function readSpdy(bytes: Buffer): void {
  const ignore = (): void => undefined;
  new FrameParser({
    synStream: () => assert.fail('a server opens no streams'),
    headers: ignore,
    rstStream: ignore,
    ping: ignore,
    goAway: ignore,
    data: ignore,
    fin: ignore,
    failed: (reason) => assert.fail(reason),
  }).push(bytes);
}
