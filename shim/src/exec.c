// One more program in the container. A connection that begins with EXEC gets a process of its own: a fork of the shim, which leaves
// the shim's descriptors alone and supervises the program with the shim's own streams, without a log and without a record. What joins the container is
// its child. Nothing of it survives the connection: without the daemon the program's whole session is killed.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "become.h"
#include "descriptors.h"
#include "shim.h"
#include "util.h"

// Programs of one container at one time besides init. Each is two processes; probes and people need a handful.
#define MAX_EXECS 512
// Where the fork keeps what it takes along.
#define FD_CONNECTION 3
#define FD_INIT 4
// The master of the kernel's terminals (devices.txt).
#define PTMX_MAJOR 5
#define PTMX_MINOR 2
// Members of a session that fork while they are being killed are found again; a fork bomb that outruns this is its cgroup's business.
#define KILL_PASSES 64
#define LABEL_BYTES 256
// A killed program ends at once unless the kernel holds it (a dead network file system): 5 s.
#define REAP_TRIES 5000
#define REAP_PAUSE_NS 1000000

static void send_failure(int fd, uint8_t step, int error) {
  uint8_t frame[FRAME_MAX_CONTROL];
  size_t bytes = frame_failed(frame, step, (uint32_t)error);
  // The first frame on a socket with a buffer of 1 MiB: it fits.
  send(fd, frame, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
}

// Nobody else would reap it: the reaper of its pid namespace is the container's init, which may never look.
static void reap_killed(struct shim *shim) {
  for (int tries = 0; shim->init > 0 && !shim->exit_seen && tries < REAP_TRIES; tries++) {
    if (waitpid(shim->init, NULL, WNOHANG) != 0) return;
    nanosleep(&(struct timespec){.tv_nsec = REAP_PAUSE_NS}, NULL);
  }
}

// Steps that init's end makes fail do so with many errnos (no memory for a process in its pid namespace, for one): what counts is the end.
static int or_ended(int error) {
  struct pollfd init = {.fd = FD_INIT, .events = POLLIN};
  return poll(&init, 1, 0) == 1 ? ESRCH : error;
}

static _Noreturn void give_up(struct shim *shim, uint8_t step, int error) {
  // Once it has been reaped its number may be another's.
  if (shim->init > 0 && !shim->exit_seen) kill(shim->init, SIGKILL);
  send_failure(FD_CONNECTION, step, step == STATUS_SYSTEM ? or_ended(error) : error);
  reap_killed(shim);
  _exit(1);
}

// Exactly `bytes` bytes of the connection, which is not blocking, within the time that a HELLO has.
static bool receive(void *to, size_t bytes) {
  uint64_t deadline = mono_ms() + HELLO_MS;
  for (size_t have = 0; have < bytes;) {
    ssize_t n = recv(FD_CONNECTION, (char *)to + have, bytes - have, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return false;
    if (n > 0) {
      have += (size_t)n;
      continue;
    }
    uint64_t now = mono_ms();
    struct pollfd wait = {.fd = FD_CONNECTION, .events = POLLIN};
    if (now >= deadline || poll(&wait, 1, (int)(deadline - now)) < 0) return false;
  }
  return true;
}

static void read_program(struct shim *shim) {
  uint8_t length[4];
  if (!receive(length, sizeof length)) _exit(1);
  uint32_t bytes = (uint32_t)length[0] | (uint32_t)length[1] << 8 | (uint32_t)length[2] << 16 | (uint32_t)length[3] << 24;
  if (bytes == 0 || bytes > CONFIG_MAX_BYTES) give_up(shim, STATUS_SYSTEM, E2BIG);
  char *text = map_pages(bytes + 1);
  if (text == NULL) give_up(shim, STATUS_SYSTEM, ENOMEM);
  if (!receive(text, bytes)) _exit(1);
  if (config_parse_program(&shim->config, text, bytes) != NULL) give_up(shim, STATUS_SYSTEM, EINVAL);
  shim->text_pages = text;
  shim->text_pages_bytes = bytes;
}

// What the joining child needs of the host, opened before it can no longer.
struct door {
  int root, control, seccomp;
  pid_t init;
  char label[LABEL_BYTES], oom[32];
};

static int open_door(struct shim *shim, pid_t init, struct door *door) {
  char path[64];
  door->init = init;
  snprintf(path, sizeof path, "/proc/%d/root", (int)init);
  door->root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (door->root < 0) return errno;
  snprintf(path, sizeof path, "/proc/%d/oom_score_adj", (int)init);
  if (read_text(path, door->oom, sizeof door->oom) < 0) door->oom[0] = 0;
  // The confinement of init, where the kernel has AppArmor ("unconfined" needs no word).
  snprintf(path, sizeof path, "/proc/%d/attr/apparmor/current", (int)init);
  if (read_text(path, door->label, sizeof door->label) < 0) door->label[0] = 0;
  door->label[strcspn(door->label, " \n")] = 0;
  if (strcmp(door->label, "unconfined") == 0) door->label[0] = 0;
  door->seccomp = -1;
  if (shim->config.seccomp == NULL) return 0;
  door->seccomp = open(shim->config.seccomp, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  return door->seccomp < 0 ? errno : 0;
}

// Into the cgroups first: from here on the container's limits count. Hierarchies that a container lacks are no reason to fail, the first one is.
static bool join_cgroups(const struct shim *shim, pid_t init) {
  for (unsigned i = 0; i < shim->config.payload_count; i++) {
    int error = cgroup_enter(shim->config.cgroups[i], init);
    if (error != 0 && (i == 0 || error != ENOENT)) return errno = error, false;
  }
  return true;
}

static bool confine(const struct door *door) {
  char text[LABEL_BYTES + 8];
  if (door->label[0] == 0) return true;
  snprintf(text, sizeof text, "exec %s", door->label);
  int error = write_text("/proc/thread-self/attr/apparmor/exec", text);
  return error == 0 || (errno = error, false);
}

// A terminal of the container's own devpts, so that its programs find it by name. The container may have put anything there: only the
// real master is taken, and its slave comes from itself.
static int make_terminal(const struct shim *shim, const struct specification *s, int *slave) {
  int master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (master < 0) master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
  if (master < 0) return -1;
  struct stat st;
  int unlock = 0;
  if (fstat(master, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(PTMX_MAJOR, PTMX_MINOR)) return errno = ENODEV, -1;
  if (ioctl(master, TIOCSPTLCK, &unlock) < 0) return -1;
  *slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (*slave < 0) return -1;
  struct winsize size = {.ws_row = shim->config.rows, .ws_col = shim->config.cols};
  ioctl(master, TIOCSWINSZ, &size);
  fchmod(*slave, 0620);
  return fchown(*slave, s->uid, (gid_t)-1) < 0 ? -1 : master;
}

static _Noreturn void join(struct shim *shim, const struct door *door) {
  const int namespaces = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
  int status = door->control, stdio[3];
  struct specification s;
  // Nobody in the container may look into this process while it still is more than they are.
  prctl(PR_SET_DUMPABLE, 0);
  if (specification_read(&s, shim->text_pages, shim->text_pages_bytes) != NULL) become_fail(status, STATUS_SYSTEM, EINVAL);
  if (!join_cgroups(shim, door->init) || !confine(door)) become_fail(status, STATUS_SYSTEM, errno);
  if (door->oom[0] != 0) write_text("/proc/self/oom_score_adj", door->oom);
  if (setns(FD_INIT, namespaces) < 0) become_fail(status, STATUS_SYSTEM, errno);
  if (fchdir(door->root) < 0 || chroot(".") < 0 || chdir("/") < 0) become_fail(status, STATUS_SYSTEM, errno);
  setsid();
  umask(022);
  if (s.tty) {
    int slave, master = make_terminal(shim, &s, &slave);
    if (master < 0) become_fail(status, STATUS_TERMINAL, errno);
    if (send_descriptors(status, "t", 1, &master, 1, MSG_NOSIGNAL) != 1) become_fail(status, STATUS_SYSTEM, errno);
    close(master);
    for (int i = 0; i < 3; i++) stdio[i] = slave;
  } else {
    memcpy(stdio, shim->child_stdio, sizeof stdio);
    for (int i = 0; i < 3; i++) {
      struct stat st;
      if (fstat(stdio[i], &st) == 0 && S_ISFIFO(st.st_mode) && fchown(stdio[i], s.uid, s.gid) < 0) become_fail(status, STATUS_SYSTEM, errno);
    }
  }
  become(&s, stdio, door->seccomp, status);
}

static int start(struct shim *shim, pid_t init) {
  struct door door;
  int sockets[2], error = open_door(shim, init, &door);
  if (error != 0) return error;
  if (!shim->config.tty && (error = stdio_make(shim)) != 0) return error;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) return errno;
  door.control = sockets[1];
  // Only children are in it; we stay where the daemon and the host's /proc are.
  if (setns(FD_INIT, CLONE_NEWPID) < 0) return errno;
  shim->begun_ns = wall_ns();
  shim->init = fork();
  if (shim->init < 0) return errno;
  if (shim->init == 0) join(shim, &door);
  close(sockets[1]);
  close(door.root);
  if (door.seccomp >= 0) close(door.seccomp);
  for (int i = 0; i < 3 && !shim->config.tty; i++) close(shim->child_stdio[i]);
  shim->status = sockets[0];
  set_nonblocking(shim->status);
  shim->init_pidfd = (int)syscall(SYS_pidfd_open, shim->init, 0);
  if (shim->init_pidfd < 0) return errno;
  watch(shim, shim->status, EPOLLIN, WATCH_STATUS);
  // Until it runs, only the daemon's going is of interest.
  watch(shim, FD_CONNECTION, EPOLLRDHUP, WATCH_REPORT);
  return 0;
}

// The terminal comes, then the end of file that a successful execve makes; or five bytes that say what failed.
void exec_status(struct shim *shim) {
  uint8_t bytes[STATUS_BYTES];
  int master;
  ssize_t n = receive_descriptors(shim->status, bytes, sizeof bytes, &master, 1, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n == STATUS_BYTES) {
    give_up(shim, bytes[0], (int)((uint32_t)bytes[1] | (uint32_t)bytes[2] << 8 | (uint32_t)bytes[3] << 16 | (uint32_t)bytes[4] << 24));
  }
  if (n == 1 && master >= 0) {
    stdio_take_terminal(shim, master);
    return;
  }
  unwatch(shim, shim->status);
  close(shim->status);
  shim->status = -1;
  // One that was killed on its way closes it as well; its end then says so, as it does of one that was killed right after.
  exec_reap(shim);
  if (shim->config.tty && shim->out.fd < 0) give_up(shim, STATUS_SYSTEM, ECHILD);
  shim->started_ns = shim->finished_ns != 0 ? shim->begun_ns : wall_ns();
  shim->phase = PHASE_RUNNING;
  unwatch(shim, FD_CONNECTION);
  connection_open(shim, FD_CONNECTION);
  // Output is read once the daemon has subscribed (sources_update); stdin may be used at once.
  shim->held = true;
  input_begin(shim);
  if (shim->exit_seen) ending_begin(shim, shim->finished_ns);
}

void exec_reap(struct shim *shim) {
  int status;
  if (shim->exit_seen || shim->init <= 0 || waitpid(shim->init, &status, WNOHANG) != shim->init) return;
  shim->exit_seen = shim->monitor_ended = true;
  shim->wait_status = status;
  shim->finished_ns = wall_ns();
  if (shim->phase == PHASE_RUNNING) ending_begin(shim, shim->finished_ns);
}

void exec_kill(struct shim *shim) {
  if (shim->init <= 0) return;
  // Its process group at once, then whoever else is in its session: `setsid` is what makes a process nobody's.
  // Once it has been reaped its number may be another's.
  if (!shim->exit_seen) kill(-shim->init, SIGKILL), kill(shim->init, SIGKILL);
  for (int pass = 0; pass < KILL_PASSES; pass++) {
    if (shim->config.cgroup_count == 0 || !cgroup_kill_session(shim->config.cgroups[0], shim->init)) return;
  }
}

static _Noreturn void supervise(struct shim *parent, int fd) {
  static struct shim shim;
  const struct config *c = &parent->config;
  pid_t init = parent->init;
  // Both may stand where the other one is to go.
  int connection = fcntl(fd, F_DUPFD, 16), pidfd = fcntl(parent->init_pidfd, F_DUPFD, 16);
  dup3(connection, FD_CONNECTION, O_CLOEXEC);
  dup3(pidfd, FD_INIT, O_CLOEXEC);
  close_fds_from(FD_INIT + 1);
  prctl(PR_SET_NAME, "berth-exec");
  memcpy(shim.config.cgroups, c->cgroups, sizeof c->cgroups);
  shim.config.cgroup_count = shim.config.payload_count = c->payload_count;
  shim.exec = true;
  shim.init_pidfd = shim.fifo = shim.words = shim.handshake = shim.status = shim.listener = shim.report = -1;
  shim.conn.fd = shim.in.fd = shim.out.fd = shim.err.fd = shim.log.fd = -1;
  for (int i = 0; i < MAX_WAITING; i++) shim.waiting[i].fd = -1;
  read_program(&shim);
  shim.now = mono_ms();
  int error = loop_open(&shim);
  if (error == 0 && !ring_init(&shim.ring, shim.config.ring)) error = ENOMEM;
  if (error == 0) error = start(&shim, init);
  if (error != 0) give_up(&shim, STATUS_SYSTEM, error);
  loop_run(&shim);
  // Ended without the program: it has been killed.
  reap_killed(&shim);
  _exit(0);
}

void exec_begin(struct shim *shim, int fd) {
  int error = shim->phase != PHASE_RUNNING || shim->init_pidfd < 0 ? ESRCH : shim->execs >= MAX_EXECS ? EDQUOT : 0;
  if (error == 0) {
    pid_t child = fork();
    if (child == 0) supervise(shim, fd);
    if (child < 0) error = errno;
    else shim->execs++;
  }
  if (error != 0) send_failure(fd, STATUS_SYSTEM, error);
  close(fd);
}
