/** A held place stays what it was, whatever its name leads to by now. */
import assert from 'node:assert/strict';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { Place } from './place.ts';

describe('Place', () => {
  let top = '';
  beforeEach(() => {
    top = mkdtempSync(join(tmpdir(), 'place-'));
    for (const name of ['directory', 'outside']) mkdirSync(`${top}/${name}`);
  });
  afterEach(() => rmSync(top, { recursive: true }));

  const hold = async (name: string): Promise<Place> => {
    const place = await Place.at(`${top}/${name}`);
    assert.ok(place);
    return place;
  };
  const replaceByLink = (name: string): void => {
    renameSync(`${top}/${name}`, `${top}/moved`);
    symlinkSync('outside', `${top}/${name}`);
  };

  test('a directory that was replaced by a link: what is made below it is in the directory', async () => {
    using place = await hold('directory');
    replaceByLink('directory');
    await place.make('file', 'file');
    await place.make('sub', 'directory');
    assert.deepEqual(readdirSync(`${top}/outside`), []);
    assert.deepEqual(readdirSync(`${top}/moved`), ['file', 'sub']);
    assert.equal((lstatSync(`${top}/moved/file`).mode & 0o777).toString(8), '644');
    using child = await place.child('sub');
    assert.ok(child?.stats.isDirectory());
  });

  test('nothing is made through a link, nor over what is there', async () => {
    using place = await hold('directory');
    symlinkSync(`${top}/outside/made`, `${top}/directory/link`);
    writeFileSync(`${top}/directory/file`, 'content');
    for (const what of ['file', 'directory'] as const) for (const name of ['link', 'file']) await place.make(name, what);
    assert.equal(existsSync(`${top}/outside/made`), false);
    assert.equal(lstatSync(`${top}/directory/file`).size, 'content'.length);
    using link = await place.child('link');
    assert.ok(link?.stats.isSymbolicLink());
    assert.equal(await place.linkTarget('link'), `${top}/outside/made`);
    assert.equal(await place.linkTarget('file'), undefined);
  });

  test('a file that was replaced is read as it was found', async () => {
    writeFileSync(`${top}/file`, 'mine');
    writeFileSync(`${top}/outside/file`, 'theirs');
    using file = await hold('file');
    rmSync(`${top}/file`);
    symlinkSync('outside/file', `${top}/file`);
    await using handle = await file.openFile();
    assert.equal(await handle.readFile('utf8'), 'mine');
  });

  test('in a directory that is gone nothing is found and nothing made', async () => {
    using place = await hold('directory');
    rmdirSync(`${top}/directory`);
    for (const what of ['file', 'directory'] as const) await place.make('x', what);
    assert.equal(await place.child('x'), undefined);
    assert.equal(await Place.at(`${top}/directory`), undefined);
  });
});
