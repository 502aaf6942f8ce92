/** docs/operations.md and one real scrape name the same metrics, with the same types and labels. */
import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import type { ParsedFamily } from '../../packages/daemon/src/testing/parse-exposition.ts';
import { AttachClient } from '../src/attach.ts';
import { scrape } from '../src/audit.ts';
import { TestDaemon } from '../src/daemon.ts';
import { runContainer, runPod } from '../src/pods.ts';
import { ForwardClient, PodServer, PORTS, portForwardUrl } from '../src/port-forward.ts';
import { eventually } from '../src/processes.ts';

const PAGE = fileURLToPath(new URL('../../docs/operations.md', import.meta.url));

type Documented = { readonly type: string; readonly labels: readonly string[] };

/** What stands in backquotes: `a_b_total`, and `_c_total` for `a_c_total`. */
function namesIn(cell: string): string[] {
  const words = [...cell.matchAll(/`(\w+)`/g)].map(([, word = '']) => word);
  const [first = ''] = words;
  return words.map((word) => {
    if (!word.startsWith('_')) return word;
    return [...first.split('_').slice(0, 1 - word.split('_').length), ...word.split('_').slice(1)].join('_');
  });
}

/** The table below `## Metrics`. */
function documented(): Map<string, Documented> {
  const [, section = ''] = /^## Metrics\n([^]*?)^## /m.exec(readFileSync(PAGE, 'utf8')) ?? [];
  const rows = section.split('\n').filter((line) => line.startsWith('| `'));
  return new Map(
    rows.flatMap((row) => {
      const [, metrics = '', type = '', labels = ''] = row.split(/ *\| */);
      return namesIn(metrics).map((name): [string, Documented] => [name, { type, labels: namesIn(labels) }]);
    }),
  );
}

/** What the table says of metrics that every Prometheus client has: they are known by their names. */
const typeByName = (name: string): string => (name.endsWith('_total') ? 'counter' : 'gauge');

/** Label names of samples in the order that they have, without those of histograms. */
const labelsOf = ({ samples }: ParsedFamily): string[] => [
  ...new Set(
    samples.map(({ labels }) =>
      Object.keys(labels)
        .filter((label) => label !== 'le')
        .join(),
    ),
  ),
];

/** Families in which nothing is above 0. */
const still = (families: ReadonlyMap<string, ParsedFamily>): string[] =>
  [...families].filter(([, { samples }]) => samples.every(({ value }) => value === 0)).map(([name]) => name);

test('every metric of the page is in one scrape of a busy daemon, and nothing else is; types and labels are those of the page', async () => {
  await using daemon = await TestDaemon.start({
    settings: '[metrics]\naddress = "127.0.0.1:0"\n[stdio]\nlive_buffer_bytes = 262144\nring_bytes = 65536',
  });
  const pod = await runPod(daemon);
  await using _server = await PodServer.start(daemon);
  const folder = join(daemon.dir, 'words');
  await mkdir(folder);
  const say = (word: string): void => writeFileSync(join(folder, word), '');
  const mounts = [{ containerPath: '/words', hostPath: folder }];
  const heard = (word: string): string => `until [ -e /words/${word} ]; do sleep 0.05; done`;
  const loud = "head -c 20000000 /dev/zero | tr '\\000' x";
  const execUrl = async (containerId: string, script: string): Promise<string> =>
    (await daemon.client.runtime.exec({ containerId, cmd: ['sh', '-c', script], stdout: true })).url;

  // Sessions of each kind that have ended, with output.
  const short = await runContainer(daemon, pod, 'read go; echo out', { stdin: true });
  using attached = await AttachClient.open(await short.attachUrl());
  using executed = await AttachClient.open(await execUrl(short.id, 'echo out'));
  await executed.ended();
  await attached.send('go\n');
  await attached.ended();
  using forwarded = await ForwardClient.open(daemon, pod.id, PORTS.echo);
  await forwarded.send('out');
  await forwarded.came(3);
  forwarded.close();
  await forwarded.ended();

  // Sessions of each kind that run: of a client that takes nothing, and of one that reads and whose daemon is late.
  const script = [heard('first'), loud, heard('second'), loud, heard('third'), 'echo x', heard('end')].join('; ');
  const busy = await runContainer(daemon, pod, script, { mounts });
  using paused = await AttachClient.open(await busy.attachUrl({ stdin: false }));
  paused.pause();
  using reads = await AttachClient.open(await busy.attachUrl({ stdin: false }));
  using _runs = await AttachClient.open(await execUrl(busy.id, heard('end')));
  using _forwards = await ForwardClient.open(daemon, pod.id, PORTS.echo);
  say('first');
  await eventually('the first output', () => reads.stdout.bytes === 20_000_000, 120_000);
  daemon.signal('SIGSTOP');
  try {
    say('second');
    await eventually('the second output is in the log', () => statSync(busy.logFile).size > 40_000_000, 120_000);
  } finally {
    daemon.signal('SIGCONT');
  }
  await eventually('the second output', () => reads.stdout.bytes === 40_000_000, 120_000);
  // Behind a gap the live buffer may be empty.
  say('third');
  await eventually('the third output', () => reads.stdout.bytes === 40_000_002);

  // A URL that nobody uses, one that nobody was given, a call that is refused, and one that lasts.
  await portForwardUrl(daemon, pod.id);
  assert.equal((await fetch(`${daemon.streaming}/attach/nobody`)).status, 404);
  await assert.rejects(daemon.client.runtime.containerStatus({ containerId: 'nobody' }));
  const lasts = daemon.client.runtime.execSync({ containerId: busy.id, cmd: ['sh', '-c', heard('end')], timeout: 300n });
  lasts.catch(() => undefined);

  const page = documented();
  assert.ok(page.size > 40, `${page.size} metrics on the page`);
  // Losses, and URLs that have expired, would take a broken disk and a minute.
  const rest = ['berth_container_log_lost_bytes', 'berth_daemon_log_lost_lines_total', 'berth_tickets_expired_total'];
  let families = await scrape(daemon);
  await eventually(
    () => `everything but ${rest.join()} has moved; these have not: ${still(families).join()}`,
    async () => {
      families = await scrape(daemon);
      return still(families).every((name) => rest.includes(name));
    },
    60_000,
  );
  assert.deepEqual(new Set(families.keys()), new Set(page.keys()));
  for (const [name, family] of families) {
    const { type, labels } = page.get(name) ?? assert.fail(name);
    assert.equal(family.type, type === '' ? typeByName(name) : type, name);
    assert.deepEqual(labelsOf(family), [labels.join()], name);
    if (!labels.includes('kind')) continue;
    const kinds = new Set(family.samples.map((sample) => sample.labels['kind']));
    assert.deepEqual(kinds, new Set(['attach', 'exec', 'portforward']), name);
  }
  const evictions = families.get('berth_live_buffer_evicted_bytes_total')?.samples ?? [];
  assert.deepEqual(
    evictions.map(({ labels }) => labels['reason']),
    ['taken', 'room', 'gap'],
  );

  say('end');
  await lasts;
  paused.resume();
  await Promise.all([paused.ended(), reads.ended()]);
  assert.equal(paused.stdout.bytes, 40_000_002);
});
