// Turns the protobuf JSON descriptor of the CRI API into a .proto file, and every .proto file (Berth's own, berth-v1.proto, is written
// by hand) into JavaScript with type declarations.
// Run it with `npm run generate -w @berth/cri-api` after changing either; the result is committed.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';

const here = new URL('..', import.meta.url);
const descriptor = JSON.parse(readFileSync(new URL('proto/runtime-v1.json', here), 'utf8'));
const { nested, options } = descriptor.nested.runtime.nested.v1;

const lines = ['syntax = "proto3";', '', 'package runtime.v1;', '', `option go_package = "${options.go_package}";`];

/** @param {Record<string, string | boolean> | undefined} opts */
const fieldOptions = (opts) => (opts?.deprecated ? ' [deprecated = true]' : '');

function field(name, f) {
  const opts = fieldOptions(f.options);
  if (f.keyType) return `  map<${f.keyType}, ${f.type}> ${name} = ${f.id}${opts};`;
  return `  ${f.rule === 'repeated' ? 'repeated ' : ''}${f.type} ${name} = ${f.id}${opts};`;
}

/** Prints one service, enum or message, and the types nested in it, into `lines`. */
function print(name, o, indent) {
  const out = (text) => lines.push(`${indent}${text}`);
  if (o.oneofs) throw new Error(`${name}: oneofs are not handled`);
  if (o.methods) {
    out(`service ${name} {`);
    for (const [method, m] of Object.entries(o.methods)) {
      out(`  rpc ${method}(${m.requestType}) returns (${m.responseStream ? 'stream ' : ''}${m.responseType});`);
    }
  } else if (o.values) {
    out(`enum ${name} {`);
    for (const [value, number] of Object.entries(o.values)) out(`  ${value} = ${number};`);
  } else {
    out(`message ${name} {`);
    for (const [inner, type] of Object.entries(o.nested ?? {})) print(inner, type, `${indent}  `);
    for (const [fieldName, f] of Object.entries(o.fields ?? {})) out(field(fieldName, f));
  }
  out('}');
}

for (const [name, o] of Object.entries(nested)) {
  lines.push('');
  print(name, o, '');
}
writeFileSync(new URL('proto/runtime-v1.proto', here), `${lines.join('\n')}\n`);

execFileSync('npx', ['buf', 'generate', 'proto'], { cwd: here, stdio: 'inherit' });
