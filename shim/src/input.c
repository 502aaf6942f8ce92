// The container's stdin: a bounded queue in front of a pipe or a terminal that may not be read.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shim.h"
#include "util.h"

// Input that the daemon has put into the pipe waits for a program that reads in lumps of the pipe's size: a larger one lets both go on.
#define PIPE_BYTES (256 * 1024)
// Who fills the pipe so often within IDLE_MS sends more than keystrokes.
#define TIMES_FULL 8u
// What is left of a lot of input is read within moments; the end of it is not seen before.
#define CLOSE_TICK_MS 5u

// Besides that nobody reads any more: each time that the pipe has been full, and once for being watched, until that is often enough.
static uint32_t quiet_events(const struct stdin_queue *in) { return in->full < TIMES_FULL ? EPOLLOUT | EPOLLET : 0u; }

void input_begin(struct shim *shim) {
  if (!shim->config.tty && shim->in.state == STDIN_OPEN) watch(shim, shim->in.fd, quiet_events(&shim->in), WATCH_IN);
}

void input_was_full(struct shim *shim) {
  struct stdin_queue *in = &shim->in;
  if (in->state != STDIN_OPEN || in->full >= TIMES_FULL) return;
  if (in->look_at == 0) in->look_at = shim->now + IDLE_MS;
  if (++in->full < TIMES_FULL) return;
  if (in->grown == 0) in->grown = grow_pipe(in->fd, PIPE_BYTES);
  watch(shim, in->fd, quiet_events(in), WATCH_IN);
}

void input_look(struct shim *shim) {
  struct stdin_queue *in = &shim->in;
  bool busy = in->full > 1, watched = in->full < TIMES_FULL;
  in->full = 0;
  if (!busy) in->grown = shrink_pipe(in->fd, in->grown);
  // More is in it than its first size holds, or may be again: until that has been read.
  in->look_at = in->grown != 0 ? shim->now + IDLE_MS : 0;
  if (!watched && !in->armed) input_begin(shim);
}

static void arm(struct shim *shim, bool on) {
  struct stdin_queue *in = &shim->in;
  if (in->armed == on) return;
  in->armed = on;
  if (shim->config.tty) {
    // A pty may not say that it takes input again: it is asked by time as well.
    in->retry_at = on ? shim->now + TTY_POLL_MS : 0;
    if (!on) in->by_time = false;
    stdio_watch_terminal(shim);
  } else {
    watch(shim, in->fd, on ? EPOLLOUT : quiet_events(in), WATCH_IN);
  }
}

void input_close(struct shim *shim, uint8_t reason) {
  struct stdin_queue *in = &shim->in;
  if (in->state != STDIN_OPEN) return;
  arm(shim, false);
  if (!shim->config.tty) {
    unwatch(shim, in->fd);
    close(in->fd);
  }
  in->fd = -1;
  in->state = STDIN_CLOSED;
  in->bytes = in->head = in->returnable = 0;
  in->look_at = in->retry_at = 0;
  uint8_t frame[FRAME_MAX_CONTROL];
  output_control(shim, frame, frame_stdin_closed(frame, reason));
}

static void send_credit(struct shim *shim) {
  struct stdin_queue *in = &shim->in;
  struct connection *c = &shim->conn;
  if (c->fd < 0 || in->close_asked || in->returnable == 0) return;
  uint8_t frame[FRAME_MAX_CONTROL];
  output_control(shim, frame, frame_stdin_credit(frame, in->returnable));
  c->credit += in->returnable;
  in->returnable = 0;
}

static void give_credit(struct shim *shim, uint32_t bytes) {
  shim->in.returnable += bytes;
  if (shim->in.returnable >= STDIN_CREDIT_LUMP) send_credit(shim);
}

// Bytes taken; 0 when it is full; -1 when nobody will read it any more.
static ssize_t write_some(struct shim *shim, const uint8_t *data, size_t bytes) {
  ssize_t n = write(shim->in.fd, data, bytes);
  if (n >= 0) return n;
  if (errno == EAGAIN || errno == EINTR) return 0;
  // A terminal that nobody has open for a moment is not closed; its end comes with init's.
  return shim->config.tty && errno == EIO ? 0 : -1;
}

void input_take(struct shim *shim, const uint8_t *data, size_t bytes) {
  struct stdin_queue *in = &shim->in;
  if (in->state != STDIN_OPEN || in->close_asked) return;
  if (in->bytes == 0) {
    ssize_t n = write_some(shim, data, bytes);
    if (n < 0) return input_close(shim, 2);
    give_credit(shim, (uint32_t)n);
    data += n;
    bytes -= (size_t)n;
  }
  if (bytes == 0) return;
  if (in->buffer == NULL) in->buffer = map_buffer(STDIN_QUEUE);
  if (in->buffer == NULL || bytes > STDIN_QUEUE - in->bytes) {
    shim->conn.closing = true;
    return;
  }
  for (uint32_t at = (in->head + in->bytes) % STDIN_QUEUE; bytes > 0; at = 0) {
    size_t part = bytes < STDIN_QUEUE - at ? bytes : STDIN_QUEUE - at;
    memcpy(in->buffer + at, data, part);
    in->bytes += (uint32_t)part;
    data += part;
    bytes -= part;
  }
  shim->big_buffers = true;
  shim->busy_at = shim->now;
  arm(shim, true);
}

void input_write(struct shim *shim) {
  struct stdin_queue *in = &shim->in;
  if (in->state != STDIN_OPEN) return;
  while (in->bytes > 0) {
    uint32_t part = in->bytes < STDIN_QUEUE - in->head ? in->bytes : STDIN_QUEUE - in->head;
    ssize_t n = write_some(shim, in->buffer + in->head, part);
    if (n < 0) return input_close(shim, 2);
    if (n == 0) break;
    in->head = (in->head + (uint32_t)n) % STDIN_QUEUE;
    in->bytes -= (uint32_t)n;
    give_credit(shim, (uint32_t)n);
  }
  if (in->bytes > 0) {
    if (shim->config.tty) in->retry_at = shim->now + TTY_POLL_MS;
    return;
  }
  in->head = 0;
  arm(shim, false);
  if (in->close_asked) return input_finish(shim);
  // Nothing is queued any more: the daemon may go back to the pipe.
  send_credit(shim);
}

void input_finish(struct shim *shim) {
  struct stdin_queue *in = &shim->in;
  if (in->state != STDIN_OPEN) return;
  // A program may have its stdin for as long as it lives: not with a large pipe.
  if (in->grown > 0 && (in->grown = shrink_pipe(in->fd, in->grown)) > 0) {
    if (in->close_by == 0) in->close_by = shim->now + IDLE_MS;
    if (shim->now < in->close_by) {
      in->retry_at = shim->now + CLOSE_TICK_MS;
      return;
    }
  }
  input_close(shim, 1);
}

void input_offer(const struct shim *shim, uint32_t *fd, uint64_t *inode) {
  const struct stdin_queue *in = &shim->in;
  struct stat st;
  // A terminal has no second way in, and what is queued here must arrive before anything else does.
  if (shim->config.tty || in->state != STDIN_OPEN || in->close_asked || in->bytes > 0 || fstat(in->fd, &st) < 0) return;
  *fd = (uint32_t)in->fd;
  *inode = st.st_ino;
}

uint32_t input_unread(const struct shim *shim) {
  int bytes = 0;
  if (shim->in.state != STDIN_OPEN || shim->in.fd < 0 || shim->phase != PHASE_RUNNING) return 0;
  if (!shim->config.tty) return ioctl(shim->in.fd, FIONREAD, &bytes) == 0 && bytes > 0 ? (uint32_t)bytes : 0;
  int slave = ioctl(shim->out.fd, TIOCGPTPEER, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (slave < 0) return 0;
  if (ioctl(slave, FIONREAD, &bytes) < 0 || bytes < 0) bytes = 0;
  close(slave);
  return (uint32_t)bytes;
}
