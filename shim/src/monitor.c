// What LXC's monitor says: states and init's exact wait status, on a FIFO that exists only because we made it.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim.h"
#include "util.h"

// Where LXC looks for it: LXC's run directory, then the lxcpath.
#define LXC_RUN "/run/lxc"
// lxc_msg_t of liblxc 4 to 7.
#define MESSAGE_NAME 256
enum { MESSAGE_STATE = 0, MESSAGE_EXIT = 2, STATE_RUNNING = 2 };
struct message {
  int32_t type;
  char name[MESSAGE_NAME];
  int32_t value;
};
_Static_assert(sizeof(struct message) == 264, "LXC writes 264 bytes");

// Another shim may be removing the same parents at the end of its container.
#define MAKE_TRIES 16

int monitor_open(struct shim *shim) {
  int length = snprintf(shim->fifo_path, sizeof shim->fifo_path, LXC_RUN "/%s/monitor-fifo", shim->config.lxc_path);
  if (length < 0 || (size_t)length >= sizeof shim->fifo_path) return ENAMETOOLONG;
  int error = 0;
  for (int i = 0; i < MAKE_TRIES; i++) {
    error = make_dirs(shim->fifo_path, 0755, true);
    if (error == 0) error = mkfifo(shim->fifo_path, 0600) < 0 && errno != EEXIST ? errno : 0;
    if (error != ENOENT) break;
  }
  if (error != 0) return error;
  // Both directions: no end of file when a writer leaves.
  shim->fifo = open(shim->fifo_path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
  if (shim->fifo < 0) return errno;
  struct stat st;
  if (fstat(shim->fifo, &st) < 0 || !S_ISFIFO(st.st_mode)) return EINVAL;
  watch(shim, shim->fifo, EPOLLIN, WATCH_FIFO);
  return 0;
}

static void on_exit_status(struct shim *shim, int status) {
  if (shim->exit_seen) return;  // the first one is the truth: a later one is a restarted init's
  shim->exit_seen = true;
  shim->wait_status = status;
  shim->finished_ns = wall_ns();
  // LXC takes SIGHUP for a wish to reboot and would start init again.
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGHUP && shim->monitor > 0) kill(shim->monitor, SIGKILL);
  if (shim->phase == PHASE_RUNNING) ending_begin(shim, shim->finished_ns);
}

void monitor_read(struct shim *shim) {
  struct message message;
  // Writes of a message are atomic (PIPE_BUF), so are our reads of one.
  while (shim->fifo >= 0 && read(shim->fifo, &message, sizeof message) == sizeof message) {
    if (message.type == MESSAGE_STATE && message.value == STATE_RUNNING) shim->running_seen = true;
    if (message.type == MESSAGE_EXIT) on_exit_status(shim, message.value);
  }
}

void monitor_reap(struct shim *shim) {
  pid_t pid;
  bool ended = false;
  while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
    if (pid == shim->monitor) ended = true;
    else if (pid != shim->mover && shim->execs > 0) shim->execs--;
  }
  if (!ended) return;
  shim->monitor = 0;
  shim->monitor_ended = true;
  monitor_read(shim);
  if (shim->phase == PHASE_RUNNING) ending_begin(shim, wall_ns());
}

void monitor_clean(struct shim *shim) {
  if (shim->fifo < 0) return;
  unwatch(shim, shim->fifo);
  close(shim->fifo);
  shim->fifo = -1;
  unlink(shim->fifo_path);
  char path[PATH_MAX];
  snprintf(path, sizeof path, LXC_RUN "/%s", shim->config.lxc_path);
  // Those above are other containers' as well: LXC makes them one by one and fails where one of them goes away meanwhile.
  rmdir(path);
  // LXC leaves its lock file and the directory of it.
  if (snprintf(path, sizeof path, LXC_RUN "/lock/%s/.%s", shim->config.lxc_path, shim->config.lxc_name) < (int)sizeof path) unlink(path);
  snprintf(path, sizeof path, LXC_RUN "/lock/%s", shim->config.lxc_path);
  rmdir(path);
}
