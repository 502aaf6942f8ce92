/** Images by the names that critest asks for, made of the default image: no registry is there, and what counts is what they do. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dockerArchive, type Member, tar } from '../../packages/daemon/src/image/test-archives.ts';
import { DEFAULT_IMAGE } from './daemon.ts';

/** What set-up makes the default image of. */
const BUSYBOX = '/bin/busybox';

const script = (path: string, text: string): Member => ({ path, mode: 0o755, data: `#!/bin/sh\n${text}\n` });

/** Programs that critest calls and that not every busybox has; as files of their own, so that masking one masks no other. */
const PROGRAMS = [
  { path: 'bin/ls', mode: 0o755, data: readFileSync(BUSYBOX) },
  script('bin/pgrep', 'pidof "$1"'),
  script('bin/ipcs', 'cat /proc/sysvipc/shm'),
];

/** A web server that looks like nginx where critest looks: its name, its pid file, the words in its command line. */
const webServer = (port: number): Member[] => [
  script('bin/nginx', `echo "$$" > /var/run/nginx.pid\nhttpd -f -p ${port} -h /srv &\necho httpd serves\nwait`),
  { path: 'srv/', flag: '5' },
  { path: 'srv/index.html', data: '<h1>Welcome to nginx!</h1>\n' },
];
const SERVE = { Cmd: ['/bin/nginx', 'master process'] };

const USER = [
  { path: 'etc/passwd', data: 'root:x:0:0:root:/root:/bin/sh\ndefault-user:x:1000:1000::/:/bin/sh\n' },
  { path: 'etc/group', data: 'root:x:0:\ndefault-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n' },
];

/** A program with the set-user-ID bit that shows what only root can read. */
const SET_USER_ID: Member[] = [
  { path: 'bin/crontab', mode: 0o4755, data: readFileSync(BUSYBOX) },
  { path: 'var/spool/cron/crontabs/', flag: '5', mode: 0o700 },
  { path: 'var/spool/cron/crontabs/default-user', mode: 0o600, data: 'Effective uid: 0\n' },
];
const SHOW_USER_ID = { Cmd: ['sh', '-c', '/bin/crontab -l 2>/dev/null || echo "Effective uid: $(id -u)"'] };

const TEST_IMAGES = 'registry.k8s.io/e2e-test-images';
const STAGING = 'gcr.io/k8s-staging-cri-tools';
const ARCHITECTURE = process.arch === 'x64' ? 'amd64' : process.arch;

/** The archives to import. */
export function critestImages(): Buffer[] {
  const base = defaultLayer();
  const image = (name: string, config: object, files: Member[]): Buffer =>
    dockerArchive({ layers: [base, tar(...files)], names: [name], config });
  return [
    image(`${TEST_IMAGES}/busybox:1.29-2`, { Cmd: ['sh'] }, PROGRAMS),
    image(`${TEST_IMAGES}/nginx:1.14-2`, SERVE, webServer(80)),
    image(`${TEST_IMAGES}/httpd:2.4.39-4`, SERVE, webServer(80)),
    image(`${STAGING}/hostnet-nginx-${ARCHITECTURE}:latest`, SERVE, webServer(12_003)),
    image(`${TEST_IMAGES}/nonewprivs:1.3`, SHOW_USER_ID, [...USER, ...SET_USER_ID]),
    image(`${STAGING}/test-image-predefined-group:latest`, { Cmd: ['sh'], User: '1000' }, USER),
    image(`${STAGING}/test-image-user-uid:latest`, { Cmd: ['sh'], User: '1002' }, []),
    image(`${STAGING}/test-image-user-username:latest`, { Cmd: ['sh'], User: 'www-data' }, []),
    image(`${STAGING}/test-image-user-uid-group:latest`, { Cmd: ['sh'], User: '1003:users' }, []),
    image(`${STAGING}/test-image-user-username-group:latest`, { Cmd: ['sh'], User: 'www-data:100' }, []),
  ];
}

/** The layer of the default image, as its archive has it. */
function defaultLayer(): Buffer {
  const read = (path: string): Buffer => execFileSync('tar', ['-xOf', DEFAULT_IMAGE, path], { maxBuffer: 64 * 1024 * 1024 });
  const [image] = JSON.parse(read('manifest.json').toString()) as { Layers: [string] }[];
  if (image === undefined) throw new Error('the default image has no layer');
  return read(image.Layers[0]);
}
