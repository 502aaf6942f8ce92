/**
 * Makes the default image: a docker archive with one layer around a static busybox. The same busybox gives the same bytes.
 * Plain JavaScript without dependencies: set-up runs it before anything is installed, on Node 20.
 *
 * node scripts/default-image.mjs OUT [BUSYBOX]
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import process from 'node:process';

const NAMES = ['berth.local/busybox:latest', 'busybox:latest'];
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const ARCHITECTURES = {
  x64: 'amd64',
  arm64: 'arm64',
  arm: 'arm',
  ia32: '386',
  ppc64: 'ppc64le',
  s390x: 's390x',
  riscv64: 'riscv64',
};
const BLOCK = 512;

const FILES = {
  'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n',
  'etc/group': 'root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nusers:x:100:\nnogroup:x:65534:\n',
  'etc/shadow': 'root:*:::::::\ndaemon:*:::::::\nnobody:*:::::::\n',
  'etc/nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
  'etc/profile': `export PATH=${PATH}\n`,
};

/** Directories by path, with their mode; parents come first. */
const DIRECTORIES = {
  bin: 0o755,
  dev: 0o755,
  etc: 0o755,
  home: 0o755,
  mnt: 0o755,
  opt: 0o755,
  proc: 0o555,
  root: 0o700,
  run: 0o755,
  sys: 0o555,
  tmp: 0o1777,
  usr: 0o755,
  'usr/bin': 0o755,
  'usr/sbin': 0o755,
  'usr/local': 0o755,
  'usr/local/bin': 0o755,
  var: 0o755,
  'var/log': 0o755,
  'var/spool': 0o755,
  'var/tmp': 0o1777,
};

const LINKS = { 'etc/mtab': '/proc/mounts', sbin: 'bin', 'var/lock': '/run/lock', 'var/run': '/run' };

/** One member of a tar, of POSIX form: header, data, padding. */
function member(path, type, mode, data = Buffer.alloc(0), link = '') {
  if (path.length > 100 || link.length > 100) throw new Error(`too long for a tar header: ${path}`);
  const header = Buffer.alloc(BLOCK);
  const octal = (value, at, width) => header.write(value.toString(8).padStart(width - 1, '0'), at, 'latin1');
  header.write(path, 0, 'latin1');
  octal(mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(data.length, 124, 12);
  octal(0, 136, 12);
  header.write(type, 156, 'latin1');
  header.write(link, 157, 'latin1');
  header.write('ustar\x0000', 257, 'latin1');
  header.fill(0x20, 148, 156);
  const sum = header.reduce((a, byte) => a + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return Buffer.concat([header, data, Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK)]);
}

const archive = (members) => Buffer.concat([...members, Buffer.alloc(2 * BLOCK)]);
const sha256 = (data) => createHash('sha256').update(data).digest('hex');
const json = (value) => Buffer.from(JSON.stringify(value));

/** Names of the programs in a busybox. Asked of the program itself: every distribution chooses its own set. */
function applets(busybox) {
  const names = execFileSync(busybox, ['--list'], { encoding: 'utf8', maxBuffer: 1024 * 1024 }).split('\n');
  const sane = names.filter((name) => /^[A-Za-z0-9._[+-]+$/.test(name) && name !== 'busybox');
  if (!sane.includes('sh')) throw new Error(`${busybox} has no shell; is it busybox?`);
  return sane.sort();
}

/** A dynamic one would need the libraries of this machine in the image. */
function requireStatic(program, path) {
  if (program.subarray(0, 4).toString('latin1') !== '\x7fELF') throw new Error(`${path} is no ELF program`);
  const is64 = program[4] === 2;
  const table = is64 ? Number(program.readBigUInt64LE(32)) : program.readUInt32LE(28);
  const entrySize = program.readUInt16LE(is64 ? 54 : 42);
  const count = program.readUInt16LE(is64 ? 56 : 44);
  const PT_INTERP = 3;
  for (let i = 0; i < count; i++) {
    if (program.readUInt32LE(table + i * entrySize) !== PT_INTERP) continue;
    throw new Error(`${path} is not static; install busybox-static`);
  }
}

function layer(path) {
  const program = readFileSync(path);
  requireStatic(program, path);
  return archive([
    member('./', '5', 0o755),
    ...Object.entries(DIRECTORIES).map(([name, mode]) => member(`${name}/`, '5', mode)),
    ...Object.entries(FILES).map(([name, text]) => member(name, '0', name === 'etc/shadow' ? 0o600 : 0o644, Buffer.from(text))),
    ...Object.entries(LINKS).map(([name, target]) => member(name, '2', 0o777, undefined, target)),
    member('bin/busybox', '0', 0o755, program),
    ...applets(path).map((name) => member(`bin/${name}`, '2', 0o777, undefined, 'busybox')),
    // Scripts of other systems begin with "#!/usr/bin/env".
    member('usr/bin/env', '2', 0o777, undefined, '/bin/busybox'),
  ]);
}

function image(busybox) {
  const root = layer(busybox);
  const config = json({
    architecture: ARCHITECTURES[process.arch] ?? process.arch,
    os: 'linux',
    config: { Env: [`PATH=${PATH}`], Cmd: ['sh'], WorkingDir: '/', Labels: { 'org.opencontainers.image.title': 'busybox' } },
    rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(root)}`] },
  });
  const [configName, layerName] = [`${sha256(config)}.json`, `${sha256(root)}/layer.tar`];
  return archive([
    member('manifest.json', '0', 0o644, json([{ Config: configName, RepoTags: NAMES, Layers: [layerName] }])),
    member(configName, '0', 0o644, config),
    member(layerName, '0', 0o644, root),
  ]);
}

const [out, busybox = '/bin/busybox'] = process.argv.slice(2);
if (out === undefined) {
  console.error('usage: node scripts/default-image.mjs OUT [BUSYBOX]');
  process.exit(2);
}
try {
  const bytes = image(busybox);
  writeFileSync(`${out}.new`, bytes);
  renameSync(`${out}.new`, out);
} catch (error) {
  console.error(`the default image cannot be made: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(1);
}
