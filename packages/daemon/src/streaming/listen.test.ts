// Where the streaming server listens and what its URLs begin with.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Certificates } from '../testing/certificates.ts';
import { BerthError } from '../util/errors.ts';
import { startServer, SUCCESS, ticketOf } from './test-server.ts';

const serve = async () => SUCCESS;

test('an advertised URL stands before every ticket, a prefix with it', async () => {
  using certs = new Certificates();
  const tls = certs.issue('server');
  for (const [config, expected] of [
    [{ advertise: 'https://node.example:8443' }, /^https:\/\/node\.example:8443\/attach\/[\w-]{32}$/],
    [{ advertise: 'https://proxy.example/berth/one' }, /^https:\/\/proxy\.example\/berth\/one\/attach\/[\w-]{32}$/],
    [{ advertise: 'https://[2001:db8::1]:10350', tls }, /^https:\/\/\[2001:db8::1\]:10350\/attach\/[\w-]{32}$/],
  ] as const) {
    await using fixture = await startServer(serve, config);
    assert.match(fixture.server.issue(ticketOf()), expected);
  }
});

test('with TLS every address is listened on; all of them at once need an advertised URL', async () => {
  using certs = new Certificates();
  const tls = certs.issue('server');
  for (const host of ['0.0.0.0', '::']) {
    await assert.rejects(startServer(serve, { host, tls }), (error: BerthError) => {
      assert.equal(error.code, 'STREAMING_ADVERTISE_MISSING');
      assert.match(error.message, /streaming\.advertise/);
      return true;
    });
  }
  const named = await startServer(serve, { host: 'localhost', tls });
  assert.match(named.server.base, /^https:\/\/localhost:\d+$/, 'certificates are for names');
  await named.server.close(0);
});

test('without TLS a loopback address only, whatever is advertised', async () => {
  for (const host of ['0.0.0.0', '::', '10.0.0.1', 'node.example']) {
    await assert.rejects(
      startServer(serve, { host, advertise: 'https://node.example' }),
      (error) => error instanceof BerthError && error.code === 'STREAMING_ADDRESS_NOT_LOOPBACK',
      host,
    );
  }
});
