// Starting the container: lxc-start with nothing of the container's but the trampoline and one socket, over which the trampoline, running
// as init already, fetches stdio, arguments and environment. So LXC never holds the container's streams, its own words never get
// into them, a second start of init ("reboot") gets nothing, and init's real pid and owner are known before its program runs.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "descriptors.h"
#include "shim.h"
#include "util.h"

// Where lxc-start finds what it passes on; nothing else is open but 0 to 2.
#define FD_TRAMPOLINE 3
#define FD_HANDSHAKE 4
// The RUNNING message comes about when the program is executed; a start is not held up longer for it.
#define RUNNING_MS 2000u

_Static_assert(HANDSHAKE_FDS <= MAX_DESCRIPTORS, "one message has them all");

static void exec_lxc(struct shim *shim, int trampoline, int socket, int words) {
  // Debian has an AppArmor profile for lxc-start by its path. Taking it up would clear the signal below, and it lets a container have none
  // but LXC's own profiles. Confined is who is contained: LXC gives init its profile.
  write_text("/proc/thread-self/attr/apparmor/exec", "exec unconfined");
  // LXC must not outlive its shim: nobody would hold the streams or learn the status.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() == 1) _exit(127);
  setsid();
  int null = open("/dev/null", O_RDONLY);
  // Out of the way first: a target may be the number of another one.
  int high_trampoline = fcntl(trampoline, F_DUPFD, 16), high_socket = fcntl(socket, F_DUPFD, 16), high_words = fcntl(words, F_DUPFD, 16);
  dup2(null, 0);
  dup2(high_words, 1);
  dup2(high_words, 2);
  dup2(high_trampoline, FD_TRAMPOLINE);
  dup2(high_socket, FD_HANDSHAKE);
  if (syscall(SYS_close_range, FD_HANDSHAKE + 1, ~0u, 0) < 0) {
    for (int fd = FD_HANDSHAKE + 1; fd < 1024; fd++) close(fd);
  }
  reset_signals();
  umask(022);
  if (shim->oom_score != NULL) write_text("/proc/self/oom_score_adj", shim->oom_score);
  const struct config *c = &shim->config;
  char entry[160], command[32], number[16];
  snprintf(entry, sizeof entry, "lxc.mount.entry=%s dev/console none bind,create=file 0 0", shim->slave_path);
  snprintf(command, sizeof command, "/proc/self/fd/%d", FD_TRAMPOLINE);
  snprintf(number, sizeof number, "%d", FD_HANDSHAKE);
  const char *argv[24] = {c->lxc_start, "-F", "-q", "-n", c->lxc_name, "-P", c->lxc_path, "-f", c->lxc_config, "-l", "ERROR", "-o", c->lxc_log};
  int count = 13;
  if (c->tty) {
    argv[count++] = "-s";
    argv[count++] = entry;
  }
  argv[count++] = "--";
  argv[count++] = command;
  argv[count++] = "init";
  argv[count++] = number;
  execv(c->lxc_start, (char **)(uintptr_t)argv);
  dprintf(2, "%s: %s", c->lxc_start, strerror(errno));
  _exit(127);
}

int start_lxc(struct shim *shim, const char **what) {
  int trampoline = open(shim->config.trampoline, O_RDONLY | O_CLOEXEC);
  *what = shim->config.trampoline;
  if (trampoline < 0) return errno;
  int words[2], sockets[2], on = 1;
  *what = "descriptors for lxc-start";
  if (pipe2(words, O_CLOEXEC | O_NONBLOCK) < 0) return errno;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) return errno;
  // Every message then carries the sender's pid and owner as seen from here, set by the kernel.
  if (setsockopt(sockets[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0) return errno;
  set_nonblocking(sockets[0]);
  struct stat log;
  shim->log_start = stat(shim->config.lxc_log, &log) == 0 ? log.st_size : 0;
  *what = "fork";
  pid_t pid = fork();
  if (pid < 0) return errno;
  if (pid == 0) exec_lxc(shim, trampoline, sockets[1], words[1]);
  close(trampoline);
  close(sockets[1]);
  close(words[1]);
  shim->monitor = pid;
  shim->words = words[0];
  shim->handshake = sockets[0];
  watch(shim, shim->words, EPOLLIN, WATCH_WORDS);
  watch(shim, shim->handshake, EPOLLIN, WATCH_HANDSHAKE);
  return 0;
}

void start_words(struct shim *shim) {
  char discarded[512];
  bool keep = shim->phase == PHASE_STARTING && shim->text_bytes < sizeof shim->text;
  char *to = keep ? shim->text + shim->text_bytes : discarded;
  ssize_t n = read(shim->words, to, keep ? sizeof shim->text - shim->text_bytes : sizeof discarded);
  if (n > 0) {
    if (keep) shim->text_bytes += (uint32_t)n;
    return;
  }
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  unwatch(shim, shim->words);
  close(shim->words);
  shim->words = -1;
}

static void append_entry(void *context, const char *key, const char *value, size_t bytes) {
  int fd = *(int *)context;
  write_all(fd, key, strlen(key));
  write_all(fd, value, bytes);
  write_all(fd, "", 1);
}

struct copying {
  int fd;
  const char *key;
};
static void append_copy(void *context, const char *value, size_t bytes) {
  struct copying *copying = context;
  append_entry(&copying->fd, copying->key, value, bytes);
}

// What the trampoline reads: what concerns it, in the configuration's own form.
static const char *const TRAMPOLINE_KEYS[] = {"tty=", "cwd=", "uid=", "gid=", "group=", "capabilities=", "no-new-privs=", "nofile-soft=", "nofile-hard=", "arg=", "env="};
static int make_specification(struct shim *shim) {
  int fd = memfd_create("berth-init", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return -1;
  for (size_t i = 0; i < sizeof TRAMPOLINE_KEYS / sizeof *TRAMPOLINE_KEYS; i++) {
    struct copying copying = {fd, TRAMPOLINE_KEYS[i]};
    config_each(&shim->config, copying.key, append_copy, &copying);
  }
  fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
  return fd;
}

// Init may open its own stdio again by /proc/self/fd, whatever user it is.
static void give_stdio(struct shim *shim, uid_t uid, gid_t gid) {
  if (shim->config.tty) {
    if (fchown(shim->child_stdio[0], uid, (gid_t)-1) < 0) return;
    return;
  }
  for (int i = 0; i < 3; i++) {
    struct stat st;
    if (fstat(shim->child_stdio[i], &st) == 0 && S_ISFIFO(st.st_mode) && fchown(shim->child_stdio[i], uid, gid) < 0) return;
  }
}

static bool receive_ready(struct shim *shim, struct ucred *who) {
  char byte;
  struct iovec vector = {&byte, 1};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int) * 8)];
  } control;
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t n = recvmsg(shim->handshake, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n != 1) return false;
  bool found = false;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS) continue;
    memcpy(who, CMSG_DATA(c), sizeof *who);
    found = who->pid > 0;
  }
  return found;
}

static void close_child_stdio(struct shim *shim) {
  for (int i = 0; i < 3; i++) {
    if (shim->child_stdio[i] >= 0 && (i == 0 || shim->child_stdio[i] != shim->child_stdio[0])) close(shim->child_stdio[i]);
  }
  for (int i = 0; i < 3; i++) shim->child_stdio[i] = -1;
}

void start_abandon(struct shim *shim, const char *why) {
  shim->start_failed = true;
  report_error(shim, "system", why);
  if (shim->monitor > 0) kill(shim->monitor, SIGKILL);
  ending_begin(shim, wall_ns());
}

void start_handshake(struct shim *shim) {
  struct ucred who = {0};
  if (!receive_ready(shim, &who)) {
    unwatch(shim, shim->handshake);
    return;
  }
  unwatch(shim, shim->handshake);
  shim->init = who.pid;
  shim->init_pidfd = (int)syscall(SYS_pidfd_open, who.pid, 0);
  // Without it init could be started, and no signal ever sent to it.
  if (shim->init_pidfd < 0) return start_abandon(shim, strerror(errno));
  shim->begun_ns = wall_ns();
  give_stdio(shim, shim->config.uid, shim->config.gid);
  int status[2] = {-1, -1}, specification = make_specification(shim);
  int seccomp = open(shim->config.seccomp != NULL ? shim->config.seccomp : "/dev/null", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (specification >= 0 && seccomp >= 0 && pipe2(status, O_CLOEXEC) == 0) {
    int fds[HANDSHAKE_FDS] = {status[1], specification, seccomp, shim->child_stdio[0], shim->child_stdio[1], shim->child_stdio[2]};
    if (send_descriptors(shim->handshake, "g", 1, fds, HANDSHAKE_FDS, MSG_NOSIGNAL | MSG_DONTWAIT) == 1) {
      set_nonblocking(status[0]);
      shim->status = status[0];
      watch(shim, shim->status, EPOLLIN, WATCH_STATUS);
    }
  }
  if (status[1] >= 0) close(status[1]);
  if (specification >= 0) close(specification);
  if (seccomp >= 0) close(seccomp);
  if (shim->status < 0 && status[0] >= 0) close(status[0]);
  // The only other holder of the socket's far end is LXC's monitor: what it or a second init asks for gets no answer.
  close(shim->handshake);
  shim->handshake = -1;
  close_child_stdio(shim);
}

void start_status(struct shim *shim) {
  ssize_t n = read(shim->status, shim->status_bytes + shim->status_have, STATUS_BYTES - shim->status_have);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n > 0) {
    shim->status_have += (uint32_t)n;
    shim->exec_failed = shim->status_have == STATUS_BYTES;
    if (!shim->exec_failed) return;
  }
  unwatch(shim, shim->status);
  close(shim->status);
  shim->status = -1;
  shim->exec_ended = true;
  if (shim->exec_failed) return;
  // What has ended already, and was seen to, started before that.
  shim->started_ns = shim->finished_ns != 0 ? shim->begun_ns : wall_ns();
  shim->running_deadline = shim->now + RUNNING_MS;
  stdio_begin(shim);
}

static void fail(struct shim *shim) {
  shim->start_failed = true;
  close_child_stdio(shim);
  if (shim->exec_failed) report_error(shim, NULL, NULL);
  else report_lxc(shim);
  ending_begin(shim, wall_ns());
}

void start_check(struct shim *shim) {
  if (shim->phase != PHASE_STARTING) return;
  if (shim->exec_failed) return fail(shim);
  bool seen = shim->running_seen || shim->exit_seen || (shim->exec_ended && shim->now >= shim->running_deadline);
  // LXC may report the end of a short program before its status pipe has been looked at.
  if (shim->exec_ended && seen) {
    shim->phase = PHASE_RUNNING;
    // Arguments and environment may be large, and only init needed them.
    if (config_keep(&shim->config)) {
      shim->log.dir = shim->config.log_dir;
      shim->log.path = shim->config.log_path;
      munmap(shim->text_pages, CONFIG_MAX_BYTES);
    }
    report_ok(shim);
    watch(shim, shim->listener, EPOLLIN, WATCH_LISTENER);
    if (shim->exit_seen || shim->monitor_ended) ending_begin(shim, shim->finished_ns != 0 ? shim->finished_ns : wall_ns());
    return;
  }
  if (shim->monitor_ended && shim->status < 0) fail(shim);
}
