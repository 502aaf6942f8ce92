// Reads certificate, key and client authorities from their files, and refuses what would not be safe or could not work.

import { X509Certificate } from 'node:crypto';
import { open } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import type { TlsFiles } from '../config/config.ts';
import { BerthError, messageOf } from '../util/errors.ts';

/** Chains and bundles of authorities are some hundred KiB at most. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;
const OTHERS = 0o007;
const GROUP_WRITE = 0o020;
const GROUP_READ = 0o040;

/** What a TLS server is made with, checked. */
export type TlsMaterial = {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca?: Buffer;
  /** For the log: whose certificate, valid until when. */
  readonly subject: string;
  readonly validTo: Date;
  /** What is not wrong but should be known; one sentence each. */
  readonly warnings: readonly string[];
};

/**
 * Reads and checks the files.
 * @throws BerthError `STREAMING_TLS_FILE` or `STREAMING_TLS_KEY_EXPOSED`, naming the setting and the file
 */
export async function readTlsFiles(files: TlsFiles, now: number = Date.now()): Promise<TlsMaterial> {
  const [cert, key, ca] = await Promise.all([
    read('tls_cert', files.cert),
    readKey(files.key),
    files.clientCa === undefined ? undefined : read('tls_client_ca', files.clientCa),
  ]);
  attempt('tls_cert', files.cert, () => createSecureContext({ cert }));
  attempt('tls_key', files.key, () => createSecureContext({ key: key.content }));
  attempt('tls_key', files.key, () => createSecureContext({ cert, key: key.content }));
  // OpenSSL takes a file without any certificate for one with none to trust.
  if (ca !== undefined) attempt('tls_client_ca', files.clientCa ?? '', () => new X509Certificate(ca));
  const { subject, validToDate } = new X509Certificate(cert);
  const expired = validToDate.getTime() < now;
  return {
    cert,
    key: key.content,
    ...(ca === undefined ? {} : { ca }),
    subject: subject.replaceAll('\n', ', '),
    validTo: validToDate,
    warnings: [
      ...(expired ? [`the certificate in ${files.cert} has expired: clients will refuse it`] : []),
      ...(key.groupReadable ? [`${files.key} can be read by its group`] : []),
    ],
  };
}

async function read(setting: string, path: string): Promise<Buffer> {
  try {
    await using file = await open(path);
    return await content(file);
  } catch (cause) {
    throw fileError(setting, path, cause);
  }
}

/** As ssh does: a key that others can read is no secret. Mode and content are those of one open file. */
async function readKey(path: string): Promise<{ content: Buffer; groupReadable: boolean }> {
  try {
    await using file = await open(path);
    const { mode, uid } = await file.stat();
    if ((mode & (OTHERS | GROUP_WRITE)) !== 0) {
      throw exposed(
        path,
        `has mode ${(mode & 0o777).toString(8).padStart(4, '0')}: make it readable by its owner only (chmod 600)`,
      );
    }
    if (uid !== 0 && uid !== process.getuid?.()) throw exposed(path, `belongs to user ${uid}: give it to root (chown root)`);
    return { content: await content(file), groupReadable: (mode & GROUP_READ) !== 0 };
  } catch (cause) {
    throw cause instanceof BerthError ? cause : fileError('tls_key', path, cause);
  }
}

async function content(file: {
  stat(): Promise<{ size: number; isFile(): boolean }>;
  readFile(): Promise<Buffer>;
}): Promise<Buffer> {
  const stat = await file.stat();
  if (!stat.isFile() || stat.size > MAX_FILE_BYTES) throw new Error('it is no regular file, or a huge one');
  return await file.readFile();
}

function attempt(setting: string, path: string, make: () => unknown): void {
  try {
    make();
  } catch (cause) {
    throw fileError(setting, path, cause);
  }
}

const exposed = (path: string, how: string): BerthError =>
  new BerthError('failed-precondition', 'STREAMING_TLS_KEY_EXPOSED', `streaming.tls_key: ${path} ${how}`);

function fileError(setting: string, path: string, cause: unknown): BerthError {
  const why = messageOf(cause);
  return new BerthError('failed-precondition', 'STREAMING_TLS_FILE', `streaming.${setting}: ${path} cannot be used: ${why}`, {
    cause,
  });
}
