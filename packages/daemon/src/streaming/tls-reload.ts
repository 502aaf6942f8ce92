// Gives a running TLS server new certificates when their files change; sessions that stand go on with what they began with.

import { stat } from 'node:fs/promises';
import type { Server } from 'node:tls';
import type { TlsFiles } from '../config/config.ts';
import { BerthError } from '../util/errors.ts';
import type { Log } from '../util/log.ts';
import { contextOptions } from './http-server.ts';
import { readTlsFiles, type TlsMaterial } from './tls-files.ts';

/**
 * How often the files are looked at. Looking finds every way of replacing them (rename, swapped symbolic links as in Kubernetes' volumes,
 * network file systems), which watching does not, and costs three system calls.
 */
export const TLS_RELOAD_MS = 5_000;

/**
 * Looks at the files until stopped. Files that cannot be used leave the old certificate in place; that is logged once for each change,
 * and they are tried again until they can.
 */
export class TlsReload {
  readonly #server: Pick<Server, 'setSecureContext'>;
  readonly #files: TlsFiles;
  readonly #log: Log;
  readonly #timer: NodeJS.Timeout;
  #loaded: string;
  #complained = '';
  #looking = false;

  /** `seen` is what `fingerprint` gave before the server's present material was read. */
  constructor(server: Pick<Server, 'setSecureContext'>, files: TlsFiles, seen: string, log: Log, everyMs: number = TLS_RELOAD_MS) {
    this.#server = server;
    this.#files = files;
    this.#log = log;
    this.#loaded = seen;
    this.#timer = setInterval(() => void this.#look(), everyMs).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      const now = await fingerprint(this.#files);
      if (now === this.#loaded) return;
      const material = await readTlsFiles(this.#files).catch((error: unknown) => this.#complain(now, error));
      if (material === undefined) return;
      this.#server.setSecureContext(contextOptions(material));
      this.#loaded = now;
      this.#complained = '';
      logMaterial(this.#log, material, 'certificate replaced');
    } finally {
      this.#looking = false;
    }
  }

  #complain(now: string, error: unknown): undefined {
    if (now === this.#complained) return;
    this.#complained = now;
    const why = error instanceof BerthError ? error.message : String(error);
    this.#log.error({ why }, 'changed TLS files cannot be used; the old certificate stays');
  }
}

/** Changes whenever a file is written or replaced by another, also behind symbolic links. */
export async function fingerprint({ cert, key, clientCa }: TlsFiles): Promise<string> {
  const parts = [cert, key, ...(clientCa === undefined ? [] : [clientCa])].map(async (path) => {
    const facts = await stat(path, { bigint: true }).catch(() => undefined);
    return facts === undefined ? 'missing' : `${facts.dev}/${facts.ino}/${facts.size}/${facts.mtimeNs}/${facts.ctimeNs}`;
  });
  return (await Promise.all(parts)).join(' ');
}

export function logMaterial(log: Log, { subject, validTo, warnings }: TlsMaterial, what: string): void {
  log.info({ subject, validTo: validTo.toISOString() }, what);
  for (const warning of warnings) log.warn({}, warning);
}
