/** Reads an OCI seccomp profile (runtime-spec `linux.seccomp`, with the includes and excludes that container engines add). */
import * as v from 'valibot';
import { invalid, notBuilt } from './refuse.ts';

/** A syscall name: nothing else may reach the policy file. */
const name = v.pipe(v.string(), v.regex(/^[a-z0-9_]{1,64}$/, 'is not a system call name'));
/** JSON numbers above 2^53 would be rounded silently. */
const number = v.pipe(
  v.number(),
  v.integer(),
  v.minValue(0),
  v.maxValue(Number.MAX_SAFE_INTEGER, 'is too large to be read exactly'),
);
/** errno(3) values; the kernel cuts off what is larger (seccomp(2), SECCOMP_RET_DATA). */
const errno = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(4095));
const orEmpty = <const T extends v.GenericSchema>(schema: T) => v.nullish(v.array(schema), []);
const text = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_.]{1,64}$/));

const argument = v.object({
  index: v.pipe(number, v.maxValue(5)),
  value: v.optional(number, 0),
  valueTwo: v.optional(number, 0),
  op: text,
});

const filter = v.nullish(
  v.object({ caps: orEmpty(text), arches: orEmpty(text), minKernel: v.nullish(v.pipe(v.string(), v.regex(/^(\d+\.\d+)?$/)), '') }),
  {},
);

const rule = v.pipe(
  v.object({
    names: orEmpty(name),
    // The form of very old profiles.
    name: v.nullish(name),
    action: text,
    errnoRet: v.nullish(errno),
    args: orEmpty(argument),
    includes: filter,
    excludes: filter,
  }),
  v.transform(({ name: single, names, errnoRet, ...rest }) => ({
    ...rest,
    names: single ? [single, ...names] : names,
    errnoRet: errnoRet ?? undefined,
  })),
);

const profile = v.object({
  defaultAction: text,
  defaultErrnoRet: v.nullish(errno),
  architectures: orEmpty(text),
  archMap: orEmpty(v.object({ architecture: text, subArchitectures: orEmpty(text) })),
  flags: orEmpty(text),
  listenerPath: v.nullish(v.string()),
  listenerMetadata: v.nullish(v.string()),
  syscalls: orEmpty(rule),
});

export type OciArgument = v.InferOutput<typeof argument>;
export type OciRule = v.InferOutput<typeof rule>;
export type OciSeccomp = Omit<v.InferOutput<typeof profile>, 'defaultErrnoRet'> & { readonly defaultErrnoRet: number | undefined };

/** Flags that change speed only, or that loading a filter into a program with one thread, right before it is executed, gives anyway. */
const HARMLESS_FLAGS = ['SECCOMP_FILTER_FLAG_TSYNC', 'SECCOMP_FILTER_FLAG_SPEC_ALLOW'];

/** Parses and checks; what has a meaning that Berth cannot give is refused by name. */
export const parseOciSeccomp = (field: string, json: string): OciSeccomp => {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch {
    throw invalid(field, 'the seccomp profile is not JSON');
  }
  const result = v.safeParse(profile, parsed);
  if (!result.success) {
    const issue = result.issues[0];
    throw invalid(field, `the seccomp profile is wrong at ${v.getDotPath(issue) ?? 'its top'}: ${issue.message}`);
  }
  const { flags, listenerPath, defaultErrnoRet } = result.output;
  const flag = flags.find((entry) => !HARMLESS_FLAGS.includes(entry));
  if (flag !== undefined) throw notBuilt(`${field}: the seccomp flag ${flag}`);
  if (listenerPath) throw notBuilt(`${field}: the seccomp listenerPath`);
  return { ...result.output, defaultErrnoRet: defaultErrnoRet ?? undefined };
};
