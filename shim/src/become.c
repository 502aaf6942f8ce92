// What init's trampoline and a program that joins the container have in common: from a specification to the program itself, with its
// stdio, user, capabilities and seccomp filter. LXC does none of this: the filter comes compiled, and both ways give the same process.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "become.h"
#include "capabilities.h"
#include "shim.h"
#include "util.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

#define EXIT_FAILED 127
// As other runtimes and shells take it when the container says nothing.
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
// The kernel takes no more (BPF_MAXINSNS).
#define MAX_FILTER 4096

_Noreturn void become_fail(int status, uint8_t step, int error) {
  uint8_t message[STATUS_BYTES] = {step, (uint8_t)error, (uint8_t)(error >> 8), (uint8_t)(error >> 16), (uint8_t)(error >> 24)};
  write_all(status, message, sizeof message);
  _exit(EXIT_FAILED);
}

// The program gets 0 to 2 and nothing else, whatever LXC and its hooks have left open.
static void close_on_exec_from_3(void) {
  if (syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC) == 0) return;
  DIR *dir = opendir("/proc/self/fd");
  if (dir == NULL) {
    for (int fd = 3; fd < 4096; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);
    return;
  }
  struct dirent *entry;
  while ((entry = readdir(dir)) != NULL) {
    int fd = atoi(entry->d_name);
    if (fd > 2) fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  closedir(dir);
}

const char *specification_read(struct specification *s, char *text, size_t bytes) {
  size_t strings = 0;
  for (size_t at = 0; at < bytes; at += strlen(text + at) + 1) strings++;
  // One list of pointers: the arguments, NULL, the environment, NULL; and one of groups, at most as long.
  char **list = malloc((strings + 3) * sizeof *list);
  gid_t *groups = malloc((strings + 1) * sizeof *groups);
  if (list == NULL || groups == NULL) return "memory";
  *s = (struct specification){.cwd = "/", .argv = list, .groups = groups};
  size_t count = 0;
  for (size_t at = 0; at < bytes; at += strlen(text + at) + 1) {
    char *entry = text + at;
    uint64_t number;
    if (strncmp(entry, "tty=", 4) == 0) s->tty = entry[4] == '1';
    else if (strncmp(entry, "cwd=", 4) == 0) s->cwd = entry + 4;
    else if (strncmp(entry, "no-new-privs=", 13) == 0) s->no_new_privileges = entry[13] == '1';
    else if (strncmp(entry, "uid=", 4) == 0 && parse_number(entry + 4, UINT32_MAX - 1, &number)) s->uid = (uid_t)number;
    else if (strncmp(entry, "gid=", 4) == 0 && parse_number(entry + 4, UINT32_MAX - 1, &number)) s->gid = (gid_t)number;
    else if (strncmp(entry, "group=", 6) == 0 && parse_number(entry + 6, UINT32_MAX - 1, &number)) groups[s->group_count++] = (gid_t)number;
    else if (strncmp(entry, "capabilities=", 13) == 0) s->capabilities = strtoull(entry + 13, NULL, 16), s->capabilities_given = true;
    else if (strncmp(entry, "nofile-soft=", 12) == 0 && parse_number(entry + 12, UINT32_MAX, &number)) s->nofile_soft = number;
    else if (strncmp(entry, "nofile-hard=", 12) == 0 && parse_number(entry + 12, UINT32_MAX, &number)) s->nofile_hard = number;
    else if (strncmp(entry, "arg=", 4) == 0) {
      if (s->envp != NULL) return "an arg behind an env";
      list[count++] = entry + 4;
    } else if (strncmp(entry, "env=", 4) == 0) {
      if (s->envp == NULL) {
        list[count++] = NULL;
        s->envp = list + count;
      }
      list[count++] = entry + 4;
    }
  }
  if (count == 0 || list[0] == NULL) return "no arg";
  list[count] = NULL;
  if (s->envp == NULL) s->envp = list + count;
  return NULL;
}

static void limit_files(const struct specification *s) {
  if (s->nofile_soft == 0 || s->nofile_hard == 0) return;
  struct rlimit limit = {.rlim_cur = s->nofile_soft, .rlim_max = s->nofile_hard};
  // A hard limit above ours takes a capability; as much as we have is what others give then.
  if (setrlimit(RLIMIT_NOFILE, &limit) == 0) return;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  if (s->nofile_soft < limit.rlim_max) limit.rlim_cur = s->nofile_soft;
  setrlimit(RLIMIT_NOFILE, &limit);
}

struct filter {
  struct sock_filter *instructions;
  unsigned short count;
};

static bool read_filter(int fd, struct filter *filter) {
  struct stat st;
  *filter = (struct filter){NULL, 0};
  if (fd < 0) return true;
  if (fstat(fd, &st) < 0) return false;
  if (!S_ISREG(st.st_mode)) return true;  // /dev/null: no filter
  size_t bytes = (size_t)st.st_size, each = sizeof(struct sock_filter);
  if (bytes == 0 || bytes % each != 0 || bytes / each > MAX_FILTER) return errno = EINVAL, false;
  filter->instructions = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
  filter->count = (unsigned short)(bytes / each);
  return filter->instructions != MAP_FAILED;
}

static bool load_filter(const struct filter *filter) {
  if (filter->count == 0) return true;
  struct sock_fprog program = {.len = filter->count, .filter = filter->instructions};
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

// The filter is the last thing before execve: it may refuse everything that this function does. Without no_new_privs the kernel wants
// CAP_SYS_ADMIN for it, which then is there for these few lines; execve sets what is left: for root the bounding set, for others nothing.
static void take_identity(const struct specification *s, int seccomp, int status) {
  struct filter filter;
  if (!read_filter(seccomp, &filter)) become_fail(status, STATUS_SECCOMP, errno);
  // As other runtimes do: root enters what the user may not (WORKDIR /root); what root may not (a network file system), the user may below.
  int no_entry = chdir(s->cwd) < 0 ? errno : 0;
  if (no_entry != 0 && no_entry != EACCES && no_entry != EPERM) become_fail(status, STATUS_CWD, no_entry);
  limit_files(s);
  if (s->capabilities_given && !drop_bounding(s->capabilities)) become_fail(status, STATUS_SYSTEM, errno);
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0) become_fail(status, STATUS_SYSTEM, errno);
  if (setgroups(s->group_count, s->groups) < 0) become_fail(status, STATUS_SYSTEM, errno);
  if (setresgid(s->gid, s->gid, s->gid) < 0) become_fail(status, STATUS_SYSTEM, errno);
  if (setresuid(s->uid, s->uid, s->uid) < 0) become_fail(status, STATUS_SYSTEM, errno);
  bool privileged_load = filter.count > 0 && !s->no_new_privileges;
  uint64_t own = s->uid == 0 ? bounding() : 0, held = own | (privileged_load ? (uint64_t)1 << CAP_SYS_ADMIN : 0);
  if (!set_capabilities(held, held)) become_fail(status, STATUS_SYSTEM, errno);
  // Nobody would hold its streams: it goes with the process that made it, as LXC has it too. Changed credentials have cleared that, and so
  // has AppArmor's change of profile. Whoever reads the status pipe may have gone before.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  struct pollfd reader = {.fd = status};
  if (poll(&reader, 1, 0) > 0) _exit(1);
  if (no_entry != 0 && chdir(s->cwd) < 0) become_fail(status, STATUS_CWD, errno);
  if (s->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) become_fail(status, STATUS_SYSTEM, errno);
  if (!load_filter(&filter)) become_fail(status, STATUS_SECCOMP, errno);
}

// As execvp does, with the container's own PATH. Gives the errno of the attempt that says most.
static int execute(const struct specification *s) {
  const char *name = s->argv[0], *path = DEFAULT_PATH;
  if (*name == 0) return ENOENT;
  if (strchr(name, '/') != NULL) {
    execve(name, s->argv, s->envp);
    return errno;
  }
  for (char **e = s->envp; *e != NULL; e++) {
    if (strncmp(*e, "PATH=", 5) != 0) continue;
    path = *e + 5;
    break;
  }
  int result = ENOENT;
  for (;;) {
    const char *end = strchrnul(path, ':');
    char candidate[PATH_MAX];
    int length = snprintf(candidate, sizeof candidate, "%.*s%s%s", (int)(end - path), path, end == path ? "./" : "/", name);
    if (length > 0 && (size_t)length < sizeof candidate) {
      execve(candidate, s->argv, s->envp);
      if (errno == EACCES) result = EACCES;
      else if (errno != ENOENT && errno != ENOTDIR && errno != ESTALE && errno != ENODEV && errno != ETIMEDOUT) return errno;
    }
    if (*end == 0) return result;
    path = end + 1;
  }
}


_Noreturn void become(const struct specification *s, const int stdio[3], int seccomp, int status) {
  for (int i = 0; i < 3; i++) {
    if (dup2(stdio[i], i) < 0) become_fail(status, STATUS_SYSTEM, errno);
  }
  if (s->tty && ioctl(0, TIOCSCTTY, 0) < 0) become_fail(status, STATUS_SYSTEM, errno);
  close_on_exec_from_3();
  reset_signals();
  take_identity(s, seccomp, status);
  int error = execute(s);
  become_fail(status, error == ENOENT || error == ENOTDIR ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE, error);
}
