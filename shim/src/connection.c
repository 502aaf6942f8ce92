// The daemon's requests.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim.h"
#include "util.h"

// One read of requests: a whole STDIN frame and some.
#define INPUT_BYTES (FRAME_MAX_DATA + 4096u)
// Reads per turn of the loop, so that input cannot keep output waiting.
#define READS_PER_TURN 4

void connection_close(struct shim *shim) {
  struct connection *c = &shim->conn;
  if (c->fd < 0) return;
  unwatch(shim, c->fd);
  close(c->fd);
  // A program besides init belongs to who asked for it.
  if (shim->exec) {
    if (shim->phase < PHASE_ENDED) exec_kill(shim);
    shim->done = true;
  }
  // Its buffers serve the next one.
  uint8_t *control = c->control, *stash = c->stash;
  memset(c, 0, sizeof *c);
  c->fd = -1;
  c->control = control;
  c->stash = stash;
}

void connection_open(struct shim *shim, int fd) {
  struct connection *c = &shim->conn;
  connection_close(shim);
  c->fd = fd;
  shim->welcomed = true;
  c->position = RING_NONE;
  c->progress_at = shim->now;
  c->events = EPOLLIN;
  watch(shim, fd, EPOLLIN, WATCH_CONN);
  // The whole queue's room is this daemon's credit; what an earlier one did not get back is in it.
  shim->in.returnable = 0;
  c->credit = shim->in.state == STDIN_OPEN && !shim->in.close_asked ? STDIN_QUEUE - shim->in.bytes : 0;
  struct welcome welcome = {
      .shim_pid = (uint32_t)getpid(),
      .init_pid = (uint32_t)shim->init,
      .state = shim->phase == PHASE_ENDED ? 2 : 1,
      .tty = shim->config.tty,
      .stdin_state = shim->in.state,
      .has_log = shim->log.enabled,
      .first = shim->ring.first,
      .next = shim->ring.next,
      .started_ns = shim->started_ns,
      .log_bytes_lost = shim->log.bytes_lost,
      .log_losses = shim->log.losses,
      .stdin_credit = c->credit,
  };
  input_offer(shim, &welcome.stdin_fd, &welcome.stdin_inode);
  uint8_t frame[FRAME_MAX_CONTROL];
  output_control(shim, frame, frame_welcome(frame, &welcome));
}

static void reply(struct shim *shim, uint32_t seq, int error) {
  uint8_t frame[FRAME_MAX_CONTROL];
  output_control(shim, frame, frame_reply(frame, seq, (uint32_t)error));
}

static int send_signal(struct shim *shim, const struct request *request) {
  if (shim->phase >= PHASE_ENDING && !request->everything) return ESRCH;
  if (shim->exec && request->everything) {
    if (request->signal != SIGKILL) return EINVAL;
    exec_kill(shim);
    return 0;
  }
  if (!request->everything || shim->config.cgroup_count == 0) {
    if (shim->init_pidfd < 0) return ESRCH;
    return syscall(SYS_pidfd_send_signal, shim->init_pidfd, (int)request->signal, NULL, 0) < 0 ? errno : 0;
  }
  int error = cgroup_signal(shim->config.cgroups[0], request->signal);
  // A frozen process dies only when it is thawed; the freezer may be another hierarchy than the one where processes are found.
  for (unsigned i = 0; request->signal == SIGKILL && i < shim->config.cgroup_count; i++) cgroup_thaw(shim->config.cgroups[i]);
  return error;
}

static void locate(struct shim *shim, const struct request *request) {
  struct location location;
  uint64_t offset = request->offset;
  memset(&location, 0, sizeof location);
  // From here on bytes are in the ring alone. With a log that is what it has not got yet: what it has lost will never be there.
  uint64_t newer = shim->ring.first;
  if (shim->log.enabled && shim->log.offset > newer) newer = shim->log.offset;
  if (offset != OFFSET_NEXT) log_locate(&shim->log, offset, newer, &location);
  if (location.kind != 1 && offset >= newer) {
    memset(&location, 0, sizeof location);
    location.kind = 2;
    location.first = shim->ring.first;
    location.end = shim->ring.next;
  }
  uint8_t frame[FRAME_MAX_CONTROL];
  output_control(shim, frame, frame_reply_location(frame, request->seq, &location));
}

static void stdin_state(struct shim *shim, uint32_t seq) {
  uint8_t frame[FRAME_MAX_CONTROL];
  output_control(shim, frame, frame_reply_stdin_state(frame, seq, shim->in.bytes, input_unread(shim), shim->in.state));
}

static void resize(struct shim *shim, const struct request *request) {
  if (!shim->config.tty || shim->out.fd < 0 || request->columns == 0 || request->rows == 0) return;
  struct winsize size = {.ws_row = request->rows, .ws_col = request->columns};
  ioctl(shim->out.fd, TIOCSWINSZ, &size);
}

static bool announce_stdin(struct shim *shim, uint32_t bytes) {
  struct connection *c = &shim->conn;
  // With stdin closed, what was granted before may still be under way.
  if (bytes > c->credit) return false;
  c->credit -= bytes;
  return true;
}

static bool on_request(void *context, const struct request *request) {
  struct shim *shim = context;
  struct connection *c = &shim->conn;
  c->progress_at = shim->phase == PHASE_ENDED ? shim->now : c->progress_at;
  switch (request->type) {
    case REQUEST_SUBSCRIBE:
      output_subscribe(shim, request->offset, request->window);
      break;
    case REQUEST_UNSUBSCRIBE:
      c->subscribed = false;
      break;
    case REQUEST_ACK:
      output_ack(shim, request->offset);
      break;
    case REQUEST_STDIN:
      return announce_stdin(shim, request->bytes);
    case REQUEST_CLOSE_STDIN:
      // The stdin of a terminal is the terminal: it cannot be closed alone.
      if (shim->config.tty || shim->in.state != STDIN_OPEN) break;
      shim->in.close_asked = true;
      if (shim->in.bytes == 0) input_finish(shim);
      break;
    case REQUEST_RESIZE:
      resize(shim, request);
      break;
    case REQUEST_SIGNAL:
      reply(shim, request->seq, send_signal(shim, request));
      break;
    case REQUEST_REOPEN_LOG:
      reply(shim, request->seq, log_reopen(&shim->log));
      break;
    case REQUEST_FLUSH:
      log_flush_partial(&shim->log);
      reply(shim, request->seq, 0);
      break;
    case REQUEST_LOCATE:
      locate(shim, request);
      break;
    case REQUEST_STDIN_STATE:
      stdin_state(shim, request->seq);
      break;
    case REQUEST_LEAVE:
      reply(shim, request->seq, shim->phase == PHASE_ENDED ? 0 : EBUSY);
      if (shim->phase == PHASE_ENDED) shim->done = true;
      break;
    default:  // a second HELLO
      return false;
  }
  // No more requests than there is room for answers; the rest waits in the input buffer.
  return !c->closing;
}

static bool on_stdin(void *context, const uint8_t *data, size_t bytes) {
  input_take(context, data, bytes);
  return true;
}

void connection_input(struct shim *shim) {
  static const struct frame_sink SINK = {on_request, on_stdin};
  struct connection *c = &shim->conn;
  if (shim->input == NULL) shim->input = map_buffer(INPUT_BYTES);
  if (shim->input == NULL) return connection_close(shim);
  for (int turn = 0; turn < READS_PER_TURN && c->fd >= 0; turn++) {
    // A request of 8 bytes may cause an answer of 72: read only as much as can be answered, unless it is data of STDIN.
    uint32_t room = CONTROL_QUEUE - c->control_bytes;
    if (room < CONTROL_SPARE) break;
    size_t most = (size_t)(room - CONTROL_SPARE) / FRAME_MAX_CONTROL * FRAME_HEADER + FRAME_HEADER + c->parser.data_left;
    if (most > INPUT_BYTES) most = INPUT_BYTES;
    ssize_t n = recv(c->fd, shim->input, most, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
    if (n <= 0) return connection_close(shim);
    if ((size_t)n > 4096) shim->big_buffers = true, shim->busy_at = shim->now;
    size_t used;
    if (frame_parse(&c->parser, shim->input, (size_t)n, &SINK, shim, &used) != FRAME_OK || c->closing) return connection_close(shim);
    if (shim->done) break;
    if ((size_t)n < most) break;
    output_flush(shim);
  }
  if (c->fd >= 0) output_flush(shim);
}
