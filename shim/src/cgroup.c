// The payload's cgroups: joining, signalling and killing what is in them, removing them.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shim.h"
#include "util.h"

// Cgroups inside cgroups: what a container may make for itself. Deeper ones are left alone.
#define MAX_DEPTH 16
// Process ids read at once.
#define PIDS_BYTES 4096

void cgroup_move(const char *directory, pid_t pid) {
  char path[PATH_MAX], text[16];
  snprintf(text, sizeof text, "%d", (int)pid);
  if (snprintf(path, sizeof path, "%s/cgroup.procs", directory) < (int)sizeof path) write_text(path, text);
}

void cgroup_join(const char *directory) { cgroup_move(directory, 0); }

// Where a process is below a cgroup that it was started in: "" or "/inner". NULL when it is not there, or that is too long.
static const char *place_below(const char *directory, pid_t pid, char *text, size_t bytes) {
  char path[32];
  snprintf(path, sizeof path, "/proc/%d/cgroup", (int)pid);
  if (read_text(path, text, bytes) <= 0) return NULL;
  char *unified = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
  const char *name = strrchr(directory, '/');
  if (unified == NULL || name == NULL) return NULL;
  unified[1 + strcspn(unified + 1, "\n")] = 0;
  // The directory is the host's path, the process's one begins at the root of our cgroup namespace: the container's id is in both.
  size_t length = strlen(name);
  for (const char *at = strstr(unified, name); at != NULL; at = strstr(at + 1, name)) {
    if (at[length] == 0 || at[length] == '/') return at + length;
  }
  return NULL;
}

int cgroup_enter(const char *directory, pid_t init) {
  char path[PATH_MAX], text[PATH_MAX];
  if (snprintf(path, sizeof path, "%s/cgroup.procs", directory) >= (int)sizeof path) return ENAMETOOLONG;
  int error = write_text(path, "0");
  // cgroup v2 keeps processes out of a cgroup that shares controllers out to those below it. An init that has done so (systemd, a
  // container runtime) has gone into one of its own below, and there its programs belong.
  const char *inner = error == EBUSY ? place_below(directory, init, text, sizeof text) : NULL;
  if (inner == NULL) return error;
  if (snprintf(path, sizeof path, "%s%s/cgroup.procs", directory, inner) >= (int)sizeof path) return ENAMETOOLONG;
  return write_text(path, "0");
}

// Calls `visit` for the cgroup and everything below it, children first.
static void walk(const char *directory, int depth, void (*visit)(const char *directory, void *context), void *context) {
  DIR *dir = depth < MAX_DEPTH ? opendir(directory) : NULL;
  if (dir != NULL) {
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
      if (entry->d_type != DT_DIR || entry->d_name[0] == '.') continue;
      char path[PATH_MAX];
      if (snprintf(path, sizeof path, "%s/%s", directory, entry->d_name) < (int)sizeof path) walk(path, depth + 1, visit, context);
    }
    closedir(dir);
  }
  visit(directory, context);
}

struct signalled {
  int signal;
  unsigned found;
  int error;
};

static void signal_one(pid_t pid, void *context) {
  struct signalled *state = context;
  // Ourselves and the kernel's "outside of this namespace" 0: never.
  if (pid <= 0 || pid == getpid()) return;
  state->found++;
  if (kill(pid, state->signal) < 0 && errno != ESRCH) state->error = errno;
}

static void each_process(const char *directory, void (*visit)(pid_t pid, void *context), void *context) {
  char path[PATH_MAX], text[PIDS_BYTES];
  if (snprintf(path, sizeof path, "%s/cgroup.procs", directory) >= (int)sizeof path) return;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  uint64_t pid = 0;
  ssize_t n;
  while ((n = read(fd, text, sizeof text)) > 0) {
    for (ssize_t i = 0; i < n; i++) {
      if (text[i] >= '0' && text[i] <= '9') pid = pid * 10 + (uint64_t)(text[i] - '0');
      else if (pid != 0) visit((pid_t)pid, context), pid = 0;
    }
  }
  close(fd);
}

static void signal_visit(const char *directory, void *context) { each_process(directory, signal_one, context); }

int cgroup_signal(const char *directory, int signal) {
  struct signalled state = {.signal = signal};
  walk(directory, 0, signal_visit, &state);
  if (state.error != 0) return state.error;
  return state.found > 0 ? 0 : ESRCH;
}

struct session {
  pid_t id;
  unsigned found;
};

// Field 6 of /proc/PID/stat, behind the name, which may hold anything.
static pid_t session_of(pid_t pid) {
  char path[32], text[512];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  if (read_text(path, text, sizeof text) <= 0) return -1;
  const char *end = strrchr(text, ')');
  int session = -1;
  return end != NULL && sscanf(end + 1, " %*c %*d %*d %d", &session) == 1 ? (pid_t)session : -1;
}

static void kill_member(pid_t pid, void *context) {
  struct session *session = context;
  if (pid <= 0 || pid == getpid() || session_of(pid) != session->id) return;
  if (kill(pid, SIGKILL) == 0) session->found++;
}

static void session_visit(const char *directory, void *context) { each_process(directory, kill_member, context); }

bool cgroup_kill_session(const char *directory, pid_t id) {
  struct session session = {.id = id};
  walk(directory, 0, session_visit, &session);
  return session.found > 0;
}

static void write_in(const char *directory, const char *file, const char *text) {
  char path[PATH_MAX];
  if (snprintf(path, sizeof path, "%s/%s", directory, file) < (int)sizeof path) write_text(path, text);
}

static void thaw_visit(const char *directory, void *context) {
  (void)context;
  write_in(directory, "freezer.state", "THAWED");
  write_in(directory, "cgroup.freeze", "0");
}

void cgroup_thaw(const char *directory) { walk(directory, 0, thaw_visit, NULL); }

bool cgroup_kill(const char *directory) {
  write_in(directory, "cgroup.kill", "1");
  int result = cgroup_signal(directory, SIGKILL);
  if (result == ESRCH) return true;
  cgroup_thaw(directory);
  return false;
}

static void remove_visit(const char *directory, void *context) {
  (void)context;
  rmdir(directory);
}

bool cgroup_remove(const char *directory) {
  if (access(directory, F_OK) == 0) walk(directory, 0, remove_visit, NULL);
  return access(directory, F_OK) < 0;
}

// The number behind "oom_kill " in memory.oom_control (v1) or memory.events (v2); -1 when there is none.
static long long oom_count(const char *path) {
  char text[1024];
  if (read_text(path, text, sizeof text) <= 0) return -1;
  for (const char *line = text; line != NULL && *line != 0; line = strchr(line, '\n')) {
    if (*line == '\n') line++;
    if (strncmp(line, "oom_kill ", 9) == 0) return strtoll(line + 9, NULL, 10);
  }
  return -1;
}

bool cgroup_oom(const char *directory) {
  static const char *const FILES[] = {"memory.oom_control", "memory.events"};
  for (int i = 0; i < 2; i++) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", directory, FILES[i]) < (int)sizeof path && oom_count(path) > 0) return true;
  }
  return false;
}

int oom_hook_main(int argc, char **argv) {
  // LXC may add words of its own behind ours.
  if (argc < 2) {
    dprintf(2, "usage: berth-shim oom-hook SRC DST\n");
    return 64;
  }
  long long count = oom_count(argv[0]);
  if (count < 0) count = 0;
  char text[32];
  int length = snprintf(text, sizeof text, "%lld\n", count);
  int fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0 || write_all(fd, text, (size_t)length) != 0) return complain(argv[1], errno);
  close(fd);
  return 0;
}
