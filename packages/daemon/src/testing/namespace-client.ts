/** WebSocket clients in a process of their own, to be stopped or cut off: `namespace-client.ts CA URL...`. Each sends one byte a second once `SIGUSR2` has come. */
import { readFileSync } from 'node:fs';
import { WebSocket } from 'ws';

const [ca = '', ...urls] = process.argv.slice(2);
const sockets = urls.map((url) => {
  const socket = new WebSocket(url.replace('https:', 'wss:'), 'v5.channel.k8s.io', { ca: readFileSync(ca) });
  socket.on('error', () => undefined);
  return socket;
});
process.on('SIGUSR2', () => {
  setInterval(() => {
    for (const socket of sockets) if (socket.readyState === WebSocket.OPEN) socket.send(Buffer.from('\0x'));
  }, 1_000);
});
