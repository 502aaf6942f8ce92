/** A container with a terminal: it is one, its shell has job control, and its size is right before the first input. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AttachClient } from '../src/attach.ts';
import { runContainer, type TestContainer } from '../src/pods.ts';
import { daemonWithPod } from '../src/suite.ts';

const { daemon, pod } = await daemonWithPod();

/** The prompt, and the question for the cursor's place that busybox's line editor asks behind it. */
const PROMPT = />> (\x1b\[6n)?$/;

/** A shell with a prompt that no output can be mistaken for. */
async function shell(): Promise<{ container: TestContainer; client: AttachClient }> {
  const container = await runContainer(daemon, pod, "PS1='>> ' exec sh", { tty: true, stdin: true });
  const client = await AttachClient.open(await container.attachUrl(), { from: 'start' });
  await client.sees(PROMPT);
  return { container, client };
}

test('it is a terminal, the controlling one, 80 by 24', async () => {
  const { client } = await shell();
  using _ = client;
  await client.send('tty; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all-three; echo via-dev-tty > /dev/tty; stty size\n');
  const text = await client.sees(/^24 80\r$/m);
  assert.match(text, /^\/dev\/\S+\r$/m);
  assert.match(text, /^all-three\r$/m);
  assert.match(text, /^via-dev-tty\r$/m);
  assert.doesNotMatch(text, /job control turned off/);
});

test('ctrl-C interrupts, ctrl-Z stops, fg continues', async () => {
  const { client } = await shell();
  using _ = client;
  // A key that comes before the shell has given the terminal to its child is input, not a signal: the child says when it runs.
  await client.send("sh -c 'echo begun; exec sleep 1000'\n");
  await client.sees(/^begun\r\n$/m);
  await client.send('\x03');
  await client.sees(/\^C\r?\n?.*>> (\x1b\[6n)?$/s);
  await client.send('echo "status=$?"\n');
  await client.sees(/^status=130\r$/m);
  await client.send("sh -c 'echo going; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo slept'\n");
  await client.sees(/^going\r\n$/m);
  await client.send('\x1a');
  await client.sees(/Stopped/);
  await client.send('jobs\n');
  await client.sees(/\[1\]\+\s+Stopped/);
  await client.send('touch /tmp/go; fg\n');
  await client.sees(/^slept\r$/m);
});

test('a size that was sent before the first input is there when it is read', async () => {
  const container = await runContainer(daemon, pod, 'read go; stty size; read go', { tty: true, stdin: true });
  using client = await AttachClient.open(await container.attachUrl());
  client.resize(132, 43);
  await client.send('\n');
  await client.sees(/^43 132\r$/m);
});

test('a new size is told by SIGWINCH', async () => {
  const container = await runContainer(
    daemon,
    pod,
    "trap 'echo winch $(stty size)' WINCH; echo ready; while :; do sleep 0.05; done",
    { tty: true, stdin: true },
  );
  using client = await AttachClient.open(await container.attachUrl(), { from: 'start' });
  await client.sees(/ready/);
  client.resize(101, 33);
  await client.sees(/^winch 33 101\r$/m);
});

test('200 sizes in a row: the last one stands; zeros and nonsense are ignored', async () => {
  const { client } = await shell();
  using _ = client;
  for (let i = 0; i < 200; i += 1) client.resize(100 + i, 50 + (i % 50));
  client.resize(0, 10);
  client.resize(10, 0);
  await client.send('stty size\n');
  await client.sees(/^99 299\r$/m);
});

test('detaching and attaching again: the same shell, another size', async () => {
  const { container, client } = await shell();
  await client.send('marker=kept\n');
  await client.sees(/kept\r\n>> (\x1b\[6n)?$/);
  client.close();
  await client.ended();
  using next = await AttachClient.open(await container.attachUrl());
  next.resize(120, 40);
  await next.send('echo "marker is $marker"; stty size\n');
  await next.sees(/^marker is kept\r\n40 120\r$/m);
});
