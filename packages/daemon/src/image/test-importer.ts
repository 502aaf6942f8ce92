/** A daemon's worth of importing for the crash test: imports three archives over and over until it is killed. */
import { createReadStream } from 'node:fs';
import { silentLog } from '../util/log.ts';
import { openImageStore } from './image-store.ts';

const [root = '', ...archives] = process.argv.slice(2);
const store = await openImageStore(root, silentLog);
process.stdout.write('open\n');
for (;;) {
  await Promise.all(
    archives.map(async (archive, i) => {
      await store.import(createReadStream(archive), [`image${i}`, 'moving']);
      process.stdout.write('imported\n');
    }),
  );
  for (const { id } of store.list()) await store.remove(id, () => false);
}
