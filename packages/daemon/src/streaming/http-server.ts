// Makes the HTTP or HTTPS server underneath the streaming server, with its limits before a request becomes a session.

import { constants } from 'node:crypto';
import { createServer as createHttp, type Server } from 'node:http';
import { createServer as createHttps, type Server as HttpsServer } from 'node:https';
import type { SecureContextOptions } from 'node:tls';
import type { StreamingConfig } from '../config/config.ts';
import type { TlsMaterial } from './tls-files.ts';

/** How often late requests are looked for; injected by tests only. */
export type HttpTimes = { readonly checkMs: number };

export const HTTP_TIMES: HttpTimes = { checkMs: 1_000 };

/** A server that does not listen yet; HTTPS with `material`. */
export function makeHttpServer(
  config: StreamingConfig,
  material: TlsMaterial | undefined,
  times: HttpTimes = HTTP_TIMES,
): Server | HttpsServer {
  const options = {
    headersTimeout: config.headerTimeoutMs,
    requestTimeout: config.headerTimeoutMs,
    connectionsCheckingInterval: times.checkMs,
    maxHeaderSize: config.maxHeaderBytes,
    noDelay: true,
  };
  if (material === undefined) return createHttp(options);
  return createHttps({
    ...options,
    ...contextOptions(material),
    handshakeTimeout: config.headerTimeoutMs,
    requestCert: material.ca !== undefined,
    rejectUnauthorized: true,
  });
}

/** What may change while the server runs. */
export function contextOptions({ cert, key, ca }: TlsMaterial): SecureContextOptions {
  return {
    cert,
    key,
    ...(ca === undefined ? {} : { ca }),
    minVersion: 'TLSv1.2',
    // A connection lasts for a whole session: resuming one saves nothing, and would let a client in by an authority that has been taken away.
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  };
}
