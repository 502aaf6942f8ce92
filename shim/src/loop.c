// The loop: waits for any descriptor or the next deadline, then lets every part take its step.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "shim.h"
#include "util.h"

#define EVENTS_AT_ONCE 16
// While a start or an end is under way things are looked at this often, besides their events.
#define START_TICK_MS 50u
#define END_TICK_MS 10u
// With a daemon that may stay for a minute after the end, this is often enough.
#define LINGER_TICK_MS 250u

void watch(struct shim *shim, int fd, uint32_t events, uint32_t what) {
  struct epoll_event event = {.events = events, .data = {.u32 = what}};
  if (epoll_ctl(shim->epoll, EPOLL_CTL_MOD, fd, &event) < 0 && errno == ENOENT) epoll_ctl(shim->epoll, EPOLL_CTL_ADD, fd, &event);
}

void unwatch(struct shim *shim, int fd) {
  if (fd >= 0) epoll_ctl(shim->epoll, EPOLL_CTL_DEL, fd, NULL);
}

static void on_signal(struct shim *shim) {
  struct signalfd_siginfo info;
  while (read(shim->signals, &info, sizeof info) == sizeof info) continue;
  if (shim->exec) return exec_reap(shim);
  // The status is in the FIFO before the monitor ends: read it first.
  monitor_read(shim);
  monitor_reap(shim);
}

static void abandon(struct shim *shim) {
  if (shim->exec) {
    exec_kill(shim);
    shim->done = true;
    return;
  }
  unwatch(shim, shim->report);
  if (shim->phase == PHASE_STARTING) start_abandon(shim, "given up");
}

static void on_output(struct shim *shim, uint32_t events) {
  if (!shim->config.tty) return source_read(shim, &shim->out);
  if (events & EPOLLOUT) input_write(shim);
  if ((events & EPOLLHUP) && shim->in.armed && !shim->in.by_time) {
    shim->in.by_time = true;
    stdio_watch_terminal(shim);
  }
  if (shim->out.armed && (events & ~(uint32_t)EPOLLOUT)) source_read(shim, &shim->out);
}

static void dispatch(struct shim *shim, uint32_t what, uint32_t events) {
  switch (what) {
    case WATCH_SIGNALS: on_signal(shim); break;
    case WATCH_LISTENER: server_accept(shim); break;
    case WATCH_FIFO: monitor_read(shim); break;
    case WATCH_WORDS: if (shim->words >= 0) start_words(shim); break;
    case WATCH_HANDSHAKE: if (shim->handshake >= 0) start_handshake(shim); break;
    case WATCH_STATUS:
      if (shim->status >= 0) (shim->exec ? exec_status : start_status)(shim);
      break;
    case WATCH_REPORT: abandon(shim); break;
    case WATCH_OUT: if (shim->out.fd >= 0) on_output(shim, events); break;
    case WATCH_ERR: if (shim->err.fd >= 0) source_read(shim, &shim->err); break;
    case WATCH_IN:
      if (events & EPOLLERR) input_close(shim, 2);
      else if (shim->in.armed) input_write(shim);
      else input_was_full(shim);
      break;
    case WATCH_CONN:
      if (shim->conn.fd >= 0 && (events & ~(uint32_t)EPOLLOUT)) connection_input(shim);
      break;
    default: server_hello(shim, what - WATCH_WAITING); break;
  }
}

static void earlier(uint64_t *deadline, uint64_t candidate) {
  if (candidate < *deadline) *deadline = candidate;
}

static int next_timeout(const struct shim *shim) {
  uint64_t at = UINT64_MAX;
  const struct connection *c = &shim->conn;
  if (shim->phase == PHASE_STARTING) earlier(&at, shim->now + START_TICK_MS);
  if (shim->phase == PHASE_ENDING) earlier(&at, shim->now + END_TICK_MS);
  if (shim->phase == PHASE_ENDED) earlier(&at, shim->now + LINGER_TICK_MS);
  if (shim->log.pending > 0) earlier(&at, shim->log.pending_since + shim->log.partial_ms);
  if (!shim->exec && shim->held && output_waits(shim)) earlier(&at, c->progress_at + (shim->log.enabled ? shim->config.late_ms : shim->config.stall_ms));
  if (shim->out.retry_at != 0) earlier(&at, shim->out.retry_at);
  if (shim->in.retry_at != 0) earlier(&at, shim->in.retry_at);
  if (shim->in.look_at != 0) earlier(&at, shim->in.look_at);
  if (shim->big_buffers) earlier(&at, shim->busy_at + IDLE_MS);
  if (output_may_tell(shim)) earlier(&at, c->loss_told_at + LOSS_MS);
  for (int i = 0; i < MAX_WAITING; i++) {
    if (shim->waiting[i].fd >= 0) earlier(&at, shim->waiting[i].deadline);
  }
  if (at == UINT64_MAX) return -1;
  return at <= shim->now ? 0 : (int)(at - shim->now);
}

// Memory that only heavy traffic needs goes back when there is none.
static void rest(struct shim *shim) {
  if (!shim->big_buffers || shim->now - shim->busy_at < IDLE_MS) return;
  shim->big_buffers = false;
  sources_rest(shim);
  log_idle(&shim->log);
  if (shim->in.bytes == 0) drop_pages(shim->in.buffer, STDIN_QUEUE);
  drop_pages(shim->input, FRAME_MAX_DATA);
  if (shim->conn.part_left == 0) drop_pages(shim->conn.stash, FRAME_MAX_DATA);
}

static void timers(struct shim *shim) {
  if (shim->log.pending > 0 && shim->now - shim->log.pending_since >= shim->log.partial_ms) log_flush_partial(&shim->log);
  if (shim->out.retry_at != 0 && shim->now >= shim->out.retry_at) source_read(shim, &shim->out);
  if (shim->in.retry_at != 0 && shim->now >= shim->in.retry_at) input_write(shim);
  if (shim->in.look_at != 0 && shim->now >= shim->in.look_at) input_look(shim);
  server_expire(shim);
  output_late(shim);
  rest(shim);
}

// After the end: stays for a daemon that is there and goes on taking what waits for it.
static void linger(struct shim *shim) {
  if (shim->phase != PHASE_ENDED || shim->done) return;
  const struct connection *c = &shim->conn;
  // A program besides init has nobody but this daemon to be waited for, and ends with its connection.
  if (shim->exec) return;
  uint64_t quiet = shim->now - c->progress_at;
  if (c->fd < 0 && !shim->welcomed && quiet < FIRST_MS) return;
  if (c->fd < 0 || quiet >= LINGER_MS || (output_waits(shim) && quiet >= shim->config.stall_ms)) shim->done = true;
}

int loop_open(struct shim *shim) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, NULL);
  shim->epoll = epoll_create1(EPOLL_CLOEXEC);
  if (shim->epoll < 0) return errno;
  shim->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  if (shim->signals < 0) return errno;
  watch(shim, shim->signals, EPOLLIN, WATCH_SIGNALS);
  return 0;
}

void loop_run(struct shim *shim) {
  struct epoll_event events[EVENTS_AT_ONCE];
  shim->now = mono_ms();
  while (!shim->done) {
    int count = epoll_wait(shim->epoll, events, EVENTS_AT_ONCE, next_timeout(shim));
    shim->now = mono_ms();
    for (int i = 0; i < count; i++) dispatch(shim, events[i].data.u32, events[i].events);
    timers(shim);
    if (!shim->exec) start_check(shim);
    ending_step(shim);
    output_flush(shim);
    sources_update(shim);
    linger(shim);
  }
}
