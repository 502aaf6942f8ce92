// `berth-shim run`: reads the configuration, leaves its parent's session, cgroup and descriptors, and becomes the container's shim.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim.h"
#include "util.h"

static int say(const char *kind, const char *text) {
  dprintf(1, "error %s %s\n", kind, text);
  return 1;
}

// Everything on descriptor 0, and how much that was; NULL with errno.
static char *read_configuration(size_t *bytes) {
  char *text = map_pages(CONFIG_MAX_BYTES);
  *bytes = 0;
  while (text != NULL) {
    ssize_t n = read(0, text + *bytes, CONFIG_MAX_BYTES - *bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return NULL;
    if (n == 0) return text;
    *bytes += (size_t)n;
    if (*bytes == CONFIG_MAX_BYTES) {
      errno = E2BIG;
      return NULL;
    }
  }
  return NULL;
}

// Settings have secrets, and may be in a file of their own: nobody holds it longer than it takes to read it.
static bool let_go_of_configuration(void) {
  int null = open("/dev/null", O_RDONLY);
  if (null < 0 || dup2(null, 0) < 0) return false;
  if (null > 2) close(null);
  return true;
}

// The process that the daemon started: passes the one line on. When nobody is left who reads it the start is given up, as by its own end.
static int wait_for_report(int fd, pid_t child) {
  char line[LXC_WORDS + 64];
  size_t have = 0;
  while (have < sizeof line) {
    struct pollfd both[2] = {{.fd = fd, .events = POLLIN}, {.fd = 1}};
    if (poll(both, 2, -1) < 0 && errno != EINTR) break;
    if ((both[1].revents & (POLLERR | POLLHUP)) != 0) return 1;
    if (both[0].revents == 0) continue;
    ssize_t n = read(fd, line + have, sizeof line - have);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    have += (size_t)n;
  }
  waitpid(child, NULL, 0);
  if (have == 0) return say("system", "the shim ended without a word");
  write_all(1, line, have);
  return strncmp(line, "ok ", 3) == 0 ? 0 : 1;
}

static void write_pid(struct shim *shim) {
  char path[PATH_MAX], text[32];
  snprintf(path, sizeof path, "%s/shim.pid", shim->config.state);
  int length = snprintf(text, sizeof text, "%d\n", (int)getpid());
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return;
  write_all(fd, text, (size_t)length);
  close(fd);
}

static void remove_files(struct shim *shim) {
  static const char *const NAMES[] = {"shim.sock", "shim.pid"};
  for (int i = 0; i < 2; i++) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", shim->config.state, NAMES[i]);
    unlink(path);
  }
}

static void ignore_signals(void) {
  static const int IGNORED[] = {SIGPIPE, SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGXFSZ, SIGUSR1, SIGUSR2};
  for (unsigned i = 0; i < sizeof IGNORED / sizeof *IGNORED; i++) signal(IGNORED[i], SIG_IGN);
}

static void protect(struct shim *shim) {
  char score[32];
  if (read_text("/proc/self/oom_score_adj", score, sizeof score) > 0) shim->oom_score = strdup(score);
  write_text("/proc/self/oom_score_adj", SHIM_OOM_SCORE);
  if (shim->config.shim_cgroup_count == 0) return;
  // By another process: the kernel lets whoever moves one wait for milliseconds, and the container can start meanwhile.
  pid_t self = getpid();
  shim->mover = fork();
  if (shim->mover != 0) return;
  // Whoever started us waits for the end of the report, not for this.
  close(shim->report);
  for (unsigned i = 0; i < shim->config.shim_cgroup_count; i++) cgroup_move(shim->config.shim_cgroups[i], self);
  _exit(0);
}

// Everything up to lxc-start. 0 or an errno, with the kind of error and what it is about.
static int prepare(struct shim *shim, const char **kind, const char **what) {
  const struct config *c = &shim->config;
  int error;
  *kind = "log";
  *what = c->log_path;
  if ((error = log_init(&shim->log, c->log_dir, c->log_path, c->partial_ms)) != 0) return error;
  *kind = "system";
  *what = "memory";
  if (!ring_init(&shim->ring, c->ring)) return ENOMEM;
  *what = c->state;
  if ((error = server_listen(shim)) != 0) return error;
  *what = "LXC's monitor FIFO";
  if ((error = monitor_open(shim)) != 0) return error;
  *what = "stdio";
  if ((error = stdio_make(shim)) != 0) return error;
  return start_lxc(shim, what);
}

static void become_shim(struct shim *shim) {
  if (chdir("/") < 0) _exit(1);
  umask(022);  // everything made here says its mode; only the log may be read by others
  // Before what has been inherited is closed: who has started us, and waits until nobody holds that, finds us by it.
  write_pid(shim);
  close_everything_but(shim->report);
  fcntl(shim->report, F_SETFD, FD_CLOEXEC);
  prctl(PR_SET_NAME, "berth-shim");
  ignore_signals();
  int error = loop_open(shim);
  protect(shim);
  // If whoever started us is gone before the container runs, nobody wants it.
  watch(shim, shim->report, 0, WATCH_REPORT);
  const char *kind = "system", *what = "the shim's loop";
  if (error == 0) error = prepare(shim, &kind, &what);
  if (error != 0) {
    monitor_clean(shim);
    dprintf(shim->report, "error %s %s: %s\n", kind, what, strerror(error));
  } else {
    loop_run(shim);
  }
  remove_files(shim);
  _exit(0);
}

int run_main(void) {
  static struct shim shim;
  shim.init_pidfd = shim.fifo = shim.words = shim.handshake = shim.status = shim.listener = -1;
  shim.conn.fd = shim.in.fd = shim.out.fd = shim.err.fd = -1;
  for (int i = 0; i < MAX_WAITING; i++) shim.waiting[i].fd = -1;
  shim.text_pages = read_configuration(&shim.text_pages_bytes);
  if (shim.text_pages == NULL || !let_go_of_configuration()) return say("system", strerror(errno));
  const char *wrong = config_parse(&shim.config, shim.text_pages, shim.text_pages_bytes);
  if (wrong != NULL) return say("system", wrong);
  int report[2];
  if (pipe(report) < 0) return say("system", strerror(errno));
  pid_t child = fork();
  if (child < 0) return say("system", strerror(errno));
  if (child > 0) {
    close(report[1]);
    return wait_for_report(report[0], child);
  }
  setsid();
  pid_t grandchild = fork();
  if (grandchild != 0) _exit(grandchild < 0);
  close(report[0]);
  shim.report = report[1];
  become_shim(&shim);
  return 0;
}
