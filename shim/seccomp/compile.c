// berth-seccomp POLICY FILTER: compiles a policy in LXC's language (version 2: the part of it that the daemon writes, and the actions log
// and kill_process besides) to the kernel's form, once for all containers that have it. LXC would do the same at every start, for tens of
// milliseconds. The shim's trampoline loads the result. Not static: libseccomp is the system's, as it is for LXC.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A line is a name, an action and at most six conditions.
#define MAX_LINE 1024
#define MAX_ARGUMENTS 6

static _Noreturn void stop(const char *what, const char *line) {
  fprintf(stderr, "berth-seccomp: %s: %s\n", what, line);
  exit(1);
}

static bool read_action(const char *word, unsigned number, uint32_t *action) {
  if (strcmp(word, "allow") == 0) *action = SCMP_ACT_ALLOW;
  else if (strcmp(word, "errno") == 0) *action = SCMP_ACT_ERRNO(number);
  else if (strcmp(word, "log") == 0) *action = SCMP_ACT_LOG;
  else if (strcmp(word, "kill") == 0) *action = SCMP_ACT_KILL_THREAD;
  else if (strcmp(word, "kill_process") == 0) *action = SCMP_ACT_KILL_PROCESS;
  else if (strcmp(word, "trap") == 0) *action = SCMP_ACT_TRAP;
  else return false;
  return true;
}

static enum scmp_compare read_operator(const char *name) {
  static const char *const NAMES[] = {"NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"};
  static const enum scmp_compare VALUES[] = {SCMP_CMP_NE, SCMP_CMP_LT, SCMP_CMP_LE, SCMP_CMP_EQ, SCMP_CMP_GE, SCMP_CMP_GT, SCMP_CMP_MASKED_EQ};
  for (unsigned i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
    if (strcmp(name, NAMES[i]) == 0) return VALUES[i];
  }
  return _SCMP_CMP_MIN;
}

// `[index,value,SCMP_CMP_op]` or `[index,value,SCMP_CMP_MASKED_EQ,mask]`, one behind the other.
static unsigned read_conditions(const char *text, struct scmp_arg_cmp *arguments) {
  unsigned count = 0;
  while (*text != 0) {
    unsigned index;
    uint64_t value, mask = 0;
    char operator[16];
    int used = 0, last = 0;
    if (count == MAX_ARGUMENTS) stop("too many conditions", text);
    if (sscanf(text, "[%u,%" SCNu64 ",SCMP_CMP_%15[A-Z_]%n", &index, &value, operator, &used) != 3 || used == 0) stop("a condition is wrong", text);
    enum scmp_compare compare = read_operator(operator);
    if (index >= MAX_ARGUMENTS || compare == _SCMP_CMP_MIN) stop("a condition is wrong", text);
    if (compare == SCMP_CMP_MASKED_EQ && (sscanf(text + used, ",%" SCNu64 "%n", &mask, &last) != 1 || last == 0)) stop("a mask is missing", text);
    text += used + last;
    if (*text++ != ']') stop("a condition is not ended", text);
    struct scmp_arg_cmp *a = &arguments[count++];
    *a = (struct scmp_arg_cmp){.arg = index, .op = compare, .datum_a = value};
    if (compare == SCMP_CMP_MASKED_EQ) a->datum_a = mask, a->datum_b = value;
  }
  return count;
}

static void add_architectures(scmp_filter_ctx filter) {
  uint32_t native = seccomp_arch_native();
  uint32_t more[2] = {0, 0};
  if (native == SCMP_ARCH_X86_64) more[0] = SCMP_ARCH_X86, more[1] = SCMP_ARCH_X32;
  if (native == SCMP_ARCH_AARCH64) more[0] = SCMP_ARCH_ARM;
  for (int i = 0; i < 2; i++) {
    int error = more[i] == 0 ? 0 : seccomp_arch_add(filter, more[i]);
    if (error < 0 && error != -EEXIST) stop("an architecture cannot be added", strerror(-error));
  }
}

// `name`, `name allow`, `name errno 1 [0,1,SCMP_CMP_EQ]`.
static void add_rule(scmp_filter_ctx filter, char *line) {
  char *rest = NULL;
  const char *name = strtok_r(line, " ", &rest), *word = strtok_r(NULL, " ", &rest), *number = NULL;
  uint32_t action = SCMP_ACT_ALLOW;
  if (word != NULL && strcmp(word, "errno") == 0 && (number = strtok_r(NULL, " ", &rest)) == NULL) stop("an errno is missing", name);
  if (word != NULL && !read_action(word, number == NULL ? 0 : (unsigned)strtoul(number, NULL, 10), &action)) stop("an action is unknown", word);
  const char *conditions = strtok_r(NULL, " ", &rest);
  struct scmp_arg_cmp arguments[MAX_ARGUMENTS];
  unsigned count = conditions == NULL ? 0 : read_conditions(conditions, arguments);
  int call = seccomp_syscall_resolve_name(name);
  // What this libseccomp does not know cannot be told apart from what does not exist: the default answers it.
  if (call == __NR_SCMP_ERROR) return;
  int error = seccomp_rule_add_array(filter, action, call, count, arguments);
  if (error < 0 && error != -EEXIST) stop(strerror(-error), name);
}

static scmp_filter_ctx begin(FILE *policy, char *line) {
  char kind[16], word[16];
  unsigned number = 0;
  if (fgets(line, MAX_LINE, policy) == NULL || strcmp(line, "2\n") != 0) stop("not a policy of version 2", "");
  if (fgets(line, MAX_LINE, policy) == NULL || sscanf(line, "%15s %15s %u", kind, word, &number) < 2) stop("the default is wrong", line);
  uint32_t action;
  if (!read_action(word, number, &action)) stop("the default is wrong", line);
  scmp_filter_ctx filter = seccomp_init(action);
  if (filter == NULL) stop("libseccomp cannot begin", strerror(errno));
  // A tree rather than a list of comparisons: every system call of the container goes through it. Older libraries have no tree.
  seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
  if (fgets(line, MAX_LINE, policy) == NULL) stop("no section", "");
  if (strcmp(line, "[all]\n") == 0) add_architectures(filter);
  else if (strcmp(line, "[x86_64]\n") != 0 && strcmp(line, "[arm64]\n") != 0) stop("the section is unknown", line);
  return filter;
}

int main(int argc, char **argv) {
  char line[MAX_LINE];
  if (argc != 3) stop("usage", "berth-seccomp POLICY FILTER");
  FILE *policy = fopen(argv[1], "re");
  if (policy == NULL) stop(strerror(errno), argv[1]);
  scmp_filter_ctx filter = begin(policy, line);
  while (fgets(line, sizeof line, policy) != NULL) {
    char *end = strchr(line, '\n');
    if (end == NULL) stop("a line is not ended", line);
    *end = 0;
    if (*line != 0) add_rule(filter, line);
  }
  int out = open(argv[2], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (out < 0) stop(strerror(errno), argv[2]);
  int error = seccomp_export_bpf(filter, out);
  if (error < 0 || fsync(out) < 0) stop("the filter cannot be written", strerror(error < 0 ? -error : errno));
  return 0;
}
