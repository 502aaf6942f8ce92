/** Certificates for tests, made with `openssl`: authorities, servers and clients, each in an own folder that goes with the test. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Paths of PEM files. */
export type KeyPair = { readonly cert: string; readonly key: string };

const CURVE = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];

/** A folder of certificates; its authority `ca` is made with it. */
export class Certificates implements Disposable {
  readonly dir = mkdtempSync(join(tmpdir(), 'berth-certs-'));
  readonly ca: KeyPair = this.authority('ca');

  /** The authority's certificate, for clients. */
  get caPem(): Buffer {
    return readFileSync(this.ca.cert);
  }

  /** A new authority. */
  authority(name: string): KeyPair {
    return this.#make(name, ['-subj', `/CN=${name}`]);
  }

  /** A certificate of an authority, for servers on loopback and for clients alike. */
  issue(name: string, by: KeyPair = this.ca, names = 'IP:127.0.0.1,IP:::1,DNS:localhost'): KeyPair {
    const signer = ['-CA', by.cert, '-CAkey', by.key, '-addext', 'basicConstraints=critical,CA:FALSE'];
    return this.#make(name, ['-subj', `/CN=${name}`, '-addext', `subjectAltName=${names}`, ...signer]);
  }

  [Symbol.dispose](): void {
    rmSync(this.dir, { recursive: true, force: true });
  }

  #make(name: string, args: readonly string[]): KeyPair {
    const pair = { cert: join(this.dir, `${name}.pem`), key: join(this.dir, `${name}.key`) };
    execFileSync('openssl', ['req', '-x509', ...CURVE, '-keyout', pair.key, '-out', pair.cert, ...args], { stdio: 'pipe' });
    return pair;
  }
}
