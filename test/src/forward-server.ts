/** Runs in the network of a pod and serves what port-forward tests ask for; says `ready`, then what it has seen. `node forward-server.ts` */
import { createHash } from 'node:crypto';
import { createServer, type Socket } from 'node:net';
import { PORTS } from './port-forward.ts';

const say = (text: string): void => void process.stdout.write(`${text}\n`);

async function listen(host: string, port: number, serve: (socket: Socket) => void): Promise<void> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', (error: NodeJS.ErrnoException) => say(`${port} ${error.code}`));
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen({ host, port, ipv6Only: host === '::1', backlog: 511 }, resolve));
}

/** Counts and hashes everything until the end, then says so. */
function count(port: number, socket: Socket): void {
  const hash = createHash('sha256');
  let bytes = 0;
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    hash.update(chunk);
  });
  socket.on('end', () => {
    say(`${port} end ${bytes} ${hash.digest('hex')}`);
    socket.end();
  });
}

await listen('127.0.0.1', PORTS.echo, (socket) => void socket.pipe(socket));
await listen('::1', PORTS.echo6, (socket) => void socket.pipe(socket));
// Ends its half at once and reads on.
await listen('127.0.0.1', PORTS.banner, (socket) => {
  socket.end('welcome');
  count(PORTS.banner, socket);
});
await listen('127.0.0.1', PORTS.sink, (socket) => {
  socket.once('data', (chunk: Buffer) => say(`${PORTS.sink} begin ${chunk.length}`));
  count(PORTS.sink, socket);
});
say('ready');
