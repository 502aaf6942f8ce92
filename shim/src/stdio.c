// The container's streams: pipes or a pty, read into the ring, the log first.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shim.h"
#include "util.h"

// A busy pipe gets this size until it is quiet. With a log as much as is written at once: what is larger is out of the processor's cache
// when it is read.
#define PIPE_BYTES (1024 * 1024)
#define LOGGED_PIPE_BYTES LOG_BATCH
// Reads of one stream per turn of the loop: the other one and the daemon's requests come in between.
#define READS_PER_TURN 16

static int make_pipe(int *ours, int *childs, bool we_read) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return errno;
  *ours = ends[we_read ? 0 : 1];
  *childs = ends[we_read ? 1 : 0];
  set_nonblocking(*ours);
  // Whoever may open it again by /proc/self/fd is set by owner, when init's is known.
  fchmod(*childs, 0600);
  return 0;
}

void stdio_take_terminal(struct shim *shim, int master) {
  set_nonblocking(master);
  shim->out = (struct source){.fd = master, .stream = 1, .grown = -1};
  shim->err = (struct source){.fd = -1, .stream = 2, .ended = true};
  shim->in.fd = master;
  shim->in.state = shim->config.stdin_open ? STDIN_OPEN : STDIN_NONE;
}

static int make_pty(struct shim *shim) {
  int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (master < 0) return errno;
  unsigned number;
  int unlock = 0;
  if (ioctl(master, TIOCSPTLCK, &unlock) < 0 || ioctl(master, TIOCGPTN, &number) < 0) return errno;
  snprintf(shim->slave_path, sizeof shim->slave_path, "/dev/pts/%u", number);
  int slave = open(shim->slave_path, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (slave < 0) return errno;
  fchmod(slave, 0620);
  struct winsize size = {.ws_row = shim->config.rows, .ws_col = shim->config.cols};
  ioctl(master, TIOCSWINSZ, &size);
  for (int i = 0; i < 3; i++) shim->child_stdio[i] = slave;
  stdio_take_terminal(shim, master);
  return 0;
}

int stdio_make(struct shim *shim) {
  if (shim->config.tty) return make_pty(shim);
  int error;
  shim->out = (struct source){.fd = -1, .stream = 1};
  shim->err = (struct source){.fd = -1, .stream = 2};
  if ((error = make_pipe(&shim->out.fd, &shim->child_stdio[1], true)) != 0) return error;
  if ((error = make_pipe(&shim->err.fd, &shim->child_stdio[2], true)) != 0) return error;
  shim->in.fd = -1;
  if (shim->config.stdin_open) {
    shim->in.state = STDIN_OPEN;
    return make_pipe(&shim->in.fd, &shim->child_stdio[0], false);
  }
  shim->child_stdio[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
  return shim->child_stdio[0] < 0 ? errno : 0;
}

void stdio_watch_terminal(struct shim *shim) {
  bool input = shim->in.armed && !shim->in.by_time && shim->out.retry_at == 0;
  uint32_t events = (shim->out.armed ? EPOLLIN : 0u) | (input ? EPOLLOUT : 0u);
  if (events != 0) watch(shim, shim->out.fd, events, WATCH_OUT);
  else unwatch(shim, shim->out.fd);
}

static void source_arm(struct shim *shim, struct source *source, bool on) {
  if (source->fd < 0 || source->armed == on) return;
  source->armed = on;
  if (shim->config.tty) stdio_watch_terminal(shim);
  else if (on) watch(shim, source->fd, EPOLLIN, source->stream == 1 ? WATCH_OUT : WATCH_ERR);
  else unwatch(shim, source->fd);
}

void stdio_begin(struct shim *shim) {
  source_arm(shim, &shim->out, true);
  source_arm(shim, &shim->err, true);
  input_begin(shim);
}

static void source_end(struct shim *shim, struct source *source) {
  source_arm(shim, source, false);
  source->ended = true;
}

// Before output leaves the ring: what is appended, and a partial line too, goes to the log (LOCATE says the log has what the ring has not),
// and the daemon is asked.
static bool may_evict(void *context, const struct ring_record *record, const uint8_t *data) {
  struct shim *shim = context;
  if (!output_release(shim, record, data)) return false;
  uint64_t end = record->offset + record->bytes;
  if (end > shim->log.offset) log_write(&shim->log);
  if (end > shim->log.offset && shim->log.pending > 0) log_flush_partial(&shim->log);
  return true;
}

// Most that one read takes: a frame, and never so much of a small ring that little else would be in it.
static uint32_t most_at_once(const struct ring *ring) { return ring->size / 4 < FRAME_MAX_DATA ? ring->size / 4 : FRAME_MAX_DATA; }

// Writes down what has been read, and only then shows it.
static void publish(struct shim *shim) {
  log_write(&shim->log);
  output_flush(shim);
}

// One read, into the ring and to the log. Gives its bytes, 0 when there is no room, nothing to read now, or never again. `full`: more may
// wait.
static uint32_t read_once(struct shim *shim, struct source *source, uint32_t most, bool *full) {
  uint8_t *space;
  uint32_t room = ring_reserve(&shim->ring, most, &space, may_evict, shim);
  shim->held = room == 0;
  if (room == 0) return 0;
  ssize_t n = read(source->fd, space, room);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  if (n <= 0) {
    // A terminal that nobody has open gives EIO until somebody opens it again; only init's end makes that the end.
    if (n < 0 && errno == EIO && shim->config.tty && shim->phase < PHASE_ENDING) source->retry_at = shim->now + TTY_POLL_MS;
    else source_end(shim, source);
    return 0;
  }
  if (n >= (ssize_t)RING_MIN_READ) {
    shim->big_buffers = true;
    shim->busy_at = shim->now;
  }
  log_append(&shim->log, source->stream, space, (size_t)n, shim->now);
  uint64_t before = shim->ring.next;
  uint32_t position = ring_commit(&shim->ring, source->stream, (uint32_t)n);
  output_committed(shim, position, before);
  if (source->grown == 0 && (uint32_t)n >= most) source->grown = grow_pipe(source->fd, shim->log.enabled ? LOGGED_PIPE_BYTES : PIPE_BYTES);
  *full = (uint32_t)n == room;
  return (uint32_t)n;
}

void source_read(struct shim *shim, struct source *source) {
  uint32_t most = most_at_once(&shim->ring), unseen = 0;
  bool more = true;
  source->retry_at = 0;
  for (int turn = 0; turn < READS_PER_TURN && more; turn++) {
    uint32_t n = read_once(shim, source, most, &more);
    unseen += n;
    if (n > 0 && more && shim->log.enabled && unseen + most <= LOG_BATCH) continue;
    // Without room some may be had from what is on its way out.
    if (n == 0 && !(shim->held && unseen > 0)) more = false;
    if (unseen > 0) publish(shim);
    unseen = 0;
  }
  if (unseen > 0) publish(shim);
  source_arm(shim, source, !shim->held && !source->ended && source->retry_at == 0);
}

void sources_update(struct shim *shim) {
  // A program besides init has no log: it waits until the daemon takes its output.
  if (shim->exec && !shim->conn.subscribed && shim->phase < PHASE_ENDED) shim->held = true;
  else if (shim->held) {
    // Room is looked for again after every event: the daemon may have taken something, or be late enough.
    uint8_t *space;
    shim->held = ring_reserve(&shim->ring, most_at_once(&shim->ring), &space, may_evict, shim) == 0;
  }
  if (shim->out.retry_at == 0 && !shim->out.ended) source_arm(shim, &shim->out, !shim->held);
  if (!shim->err.ended) source_arm(shim, &shim->err, !shim->held);
}

int grow_pipe(int fd, int bytes) {
  int now = fcntl(fd, F_GETPIPE_SZ);
  return now >= 0 && now < bytes && fcntl(fd, F_SETPIPE_SZ, bytes) >= 0 ? fcntl(fd, F_GETPIPE_SZ) : -1;
}

int shrink_pipe(int fd, int grown) {
  if (grown <= 0 || fcntl(fd, F_GETPIPE_SZ) != grown) return 0;
  return fcntl(fd, F_SETPIPE_SZ, QUIET_PIPE_BYTES) < 0 && errno == EBUSY ? grown : 0;
}

static void source_rest(struct shim *shim, struct source *source) {
  // What is still in it will be read, and then it is looked at again.
  if (!shim->config.tty) source->grown = shrink_pipe(source->fd, source->grown);
}

void sources_rest(struct shim *shim) {
  source_rest(shim, &shim->out);
  source_rest(shim, &shim->err);
}

bool sources_ended(const struct shim *shim) { return shim->out.ended && shim->err.ended; }

void stdio_close(struct shim *shim) {
  input_close(shim, 2);
  source_end(shim, &shim->out);
  source_end(shim, &shim->err);
  if (shim->out.fd >= 0) close(shim->out.fd);
  if (shim->err.fd >= 0) close(shim->err.fd);
  shim->out.fd = shim->err.fd = -1;
}
