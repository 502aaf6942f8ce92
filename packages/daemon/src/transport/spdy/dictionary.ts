// The dictionary that every SPDY/3 header block is compressed with (SPDY Protocol, Draft 3, section 2.6.10.1).

import { Buffer } from 'node:buffer';

/** Each with its length (4 bytes) in front. */
const WORDS = [
  'options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow authorization',
  'cache-control connection content-base content-encoding content-language content-length content-location content-md5 content-range',
  'content-type date etag expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified',
  'location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding',
  'upgrade user-agent vary via warning www-authenticate method get status',
]
  .join(' ')
  .split(' ');

/** Without lengths, as it stands. */
const TEXT = [
  '100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505',
  '203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found',
  '500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00',
  ' Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml',
  ',text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.',
].join('');

export const DICTIONARY: Buffer = makeDictionary();

/** Adler-32 of the dictionary, by which zlib's header names it. */
export const DICTIONARY_ID = 0xe3c6a7c2;

function makeDictionary(): Buffer {
  return Buffer.concat(
    [...WORDS, '200 OK', 'version', 'HTTP/1.1', 'url', 'public', 'set-cookie', 'keep-alive', 'origin']
      .map(word)
      .concat(Buffer.from(TEXT, 'latin1')),
  );
}

function word(text: string): Buffer {
  const bytes = Buffer.alloc(4 + text.length);
  bytes.writeUInt32BE(text.length);
  bytes.write(text, 4, 'latin1');
  return bytes;
}
