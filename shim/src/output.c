// What the daemon gets: control frames, and the container's output straight out of the ring, within its window.
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "shim.h"
#include "util.h"

// Frames in one sendmsg: more would only help for tiny records, and those come in bursts that fit.
#define FRAMES_AT_ONCE 32

void output_control(struct shim *shim, const uint8_t *frame, size_t bytes) {
  struct connection *c = &shim->conn;
  if (c->fd < 0) return;
  if (c->control == NULL) c->control = map_buffer(CONTROL_QUEUE);
  if (c->control == NULL || c->control_bytes + bytes > CONTROL_QUEUE) {
    c->closing = true;
    return;
  }
  memcpy(c->control + c->control_bytes, frame, bytes);
  c->control_bytes += (uint32_t)bytes;
}

bool output_waits(const struct shim *shim) {
  const struct connection *c = &shim->conn;
  return c->fd >= 0 && (c->part_head_left + c->part_left > 0 || (c->subscribed && c->cursor < shim->ring.next));
}

void output_subscribe(struct shim *shim, uint64_t from, uint32_t window) {
  struct connection *c = &shim->conn;
  if (from == OFFSET_NEXT) from = shim->ring.next;
  if (from > shim->ring.next) {
    c->closing = true;
    return;
  }
  c->subscribed = true;
  c->behind = false;
  c->cursor = c->acked = c->gap_from = c->gap_to = from;
  c->window = window;
  c->position = ring_find(&shim->ring, from);
  c->progress_at = shim->now;
}

// The offset up to which may be sent now. What was announced as missing does not count. What a container without a log leaves at its end, in
// the ring and in pipes, is bounded: the daemon takes it beyond the window, so that the end does not wait for a slow client.
static uint64_t limit_of(const struct shim *shim) {
  const struct connection *c = &shim->conn;
  uint64_t window = c->window;
  if (shim->phase >= PHASE_ENDING && !shim->log.enabled && !shim->exec) window += shim->ring.size + LEFT_IN_PIPES;
  return c->acked + window + (c->acked <= c->gap_from ? c->gap_to - c->gap_from : 0);
}

// A GAP before `to`. Where an earlier one is not acknowledged yet, the bytes between the two no longer count either: few, and once.
static void add_gap(struct shim *shim, uint64_t to) {
  struct connection *c = &shim->conn;
  uint8_t frame[FRAME_MAX_CONTROL];
  output_control(shim, frame, frame_gap(frame, c->cursor, to));
  if (c->acked > c->gap_from || c->gap_from == c->gap_to) c->gap_from = c->cursor;
  c->gap_to = to;
  c->cursor = to;
  c->position = RING_NONE;
  if (c->acked == c->gap_from) c->acked = to;
}

void output_ack(struct shim *shim, uint64_t offset) {
  struct connection *c = &shim->conn;
  if (!c->subscribed) return;
  // Without a log the container is held for clients, who may be slower than their kernels tell: a daemon that says again how far they are is there.
  if (!shim->log.enabled) c->progress_at = shim->now;
  if (offset <= c->acked) return;
  c->acked = offset < c->cursor ? offset : c->cursor;
  // Nobody can acknowledge what never came.
  if (c->acked >= c->gap_from && c->acked < c->gap_to) c->acked = c->gap_to;
  c->progress_at = shim->now;
  c->behind = false;
}

void output_committed(struct shim *shim, uint32_t position, uint64_t before) {
  struct connection *c = &shim->conn;
  if (c->fd < 0 || !c->subscribed || c->cursor != before) return;
  // It had everything: waiting begins now, not with its last progress.
  c->position = position;
  c->progress_at = shim->now;
}

bool output_release(struct shim *shim, const struct ring_record *record, const uint8_t *data) {
  struct connection *c = &shim->conn;
  if (c->fd < 0) return true;
  uint64_t end = record->offset + record->bytes;
  if (c->subscribed && c->cursor < end && !c->behind) return false;
  if (c->part_left > 0 && c->part >= data && c->part < data + record->bytes) {
    if (c->subscribed && !c->behind) return false;
    if (c->stash == NULL) c->stash = map_buffer(FRAME_MAX_DATA);
    if (c->stash == NULL) {
      c->closing = true;
      c->part_left = 0;
      return true;
    }
    memcpy(c->stash, c->part, c->part_left);
    c->part = c->stash;
  }
  // The cursor's record may be this one even when all of it was sent.
  c->position = RING_NONE;
  return true;
}

// True when bytes were taken; false when the socket is full or gone.
static bool sent(struct shim *shim, ssize_t n) {
  struct connection *c = &shim->conn;
  if (n > 0) {
    c->progress_at = shim->now;
    c->behind = false;
    return true;
  }
  if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) c->closing = true;
  return false;
}

static ssize_t send_vector(int fd, struct iovec *vector, unsigned count) {
  struct msghdr message = {.msg_iov = vector, .msg_iovlen = count};
  return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

// The rest of a frame that went out in part. True when it is all out.
static bool flush_part(struct shim *shim) {
  struct connection *c = &shim->conn;
  while (c->part_head_left + c->part_left > 0) {
    struct iovec vector[2] = {{c->part_head + FRAME_OUTPUT_HEAD - c->part_head_left, c->part_head_left},
                              {(void *)(uintptr_t)c->part, c->part_left}};
    ssize_t n = send_vector(c->fd, vector, 2);
    if (!sent(shim, n)) return false;
    uint32_t head = (size_t)n < c->part_head_left ? (uint32_t)n : c->part_head_left;
    c->part_head_left -= head;
    c->part += (uint32_t)n - head;
    c->part_left -= (uint32_t)n - head;
  }
  return true;
}

static bool flush_control(struct shim *shim) {
  struct connection *c = &shim->conn;
  while (c->control_bytes > 0) {
    ssize_t n = send(c->fd, c->control, c->control_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (!sent(shim, n)) return false;
    c->control_bytes -= (uint32_t)n;
    memmove(c->control, c->control + n, c->control_bytes);
  }
  return true;
}

struct planned {
  uint32_t position, bytes;
  uint64_t offset;
};

// Sends the next frames of the subscription. True when everything planned went out.
static bool flush_frames(struct shim *shim) {
  struct connection *c = &shim->conn;
  struct ring *ring = &shim->ring;
  uint8_t heads[FRAMES_AT_ONCE][FRAME_OUTPUT_HEAD];
  struct iovec vector[2 * FRAMES_AT_ONCE];
  struct planned plan[FRAMES_AT_ONCE];
  unsigned count = 0;
  uint64_t cursor = c->cursor, limit = limit_of(shim);
  uint32_t position = c->position == RING_NONE ? ring_find(ring, cursor) : c->position;
  while (count < FRAMES_AT_ONCE && cursor < limit && position != RING_NONE) {
    struct ring_record record = ring_at(ring, position);
    uint32_t inside = (uint32_t)(cursor - record.offset), bytes = record.bytes - inside;
    if (bytes == 0) {  // the record was joined to after it had been sent; or it is the last, all sent
      position = ring_after(ring, position);
      continue;
    }
    if (bytes > limit - cursor) bytes = (uint32_t)(limit - cursor);
    const uint8_t *data = ring_data(ring, position) + inside;
    frame_output_head(heads[count], (uint8_t)record.stream, cursor, bytes);
    vector[2 * count] = (struct iovec){heads[count], FRAME_OUTPUT_HEAD};
    vector[2 * count + 1] = (struct iovec){(void *)(uintptr_t)data, bytes};
    plan[count++] = (struct planned){position, bytes, cursor};
    cursor += bytes;
  }
  if (count == 0) return false;
  ssize_t n = send_vector(c->fd, vector, 2 * count);
  if (!sent(shim, n)) return false;
  size_t left = (size_t)n;
  for (unsigned i = 0; i < count; i++) {
    if (left == 0) return false;
    c->cursor = plan[i].offset + plan[i].bytes;
    c->position = plan[i].position;
    size_t frame = FRAME_OUTPUT_HEAD + plan[i].bytes;
    if (left >= frame) {
      left -= frame;
      continue;
    }
    size_t head = left < FRAME_OUTPUT_HEAD ? left : FRAME_OUTPUT_HEAD, data = left - head;
    memcpy(c->part_head, heads[i], FRAME_OUTPUT_HEAD);
    c->part_head_left = (uint32_t)(FRAME_OUTPUT_HEAD - head);
    c->part = (const uint8_t *)vector[2 * i + 1].iov_base + data;
    c->part_left = (uint32_t)(plan[i].bytes - data);
    return false;
  }
  return true;
}

bool output_may_tell(const struct shim *shim) {
  const struct connection *c = &shim->conn;
  return shim->log.report && c->fd >= 0 && c->control_bytes + CONTROL_SPARE <= CONTROL_QUEUE;
}

static void tell_losses(struct shim *shim) {
  struct connection *c = &shim->conn;
  if (!output_may_tell(shim) || (c->loss_told_at != 0 && shim->now - c->loss_told_at < LOSS_MS)) return;
  uint8_t frame[FRAME_MAX_CONTROL];
  shim->log.report = false;
  c->loss_told_at = shim->now;
  output_control(shim, frame, frame_log_loss(frame, shim->log.bytes_lost, shim->log.losses, (uint32_t)shim->log.last_error));
}

static void set_events(struct shim *shim, bool writable) {
  struct connection *c = &shim->conn;
  bool readable = c->control_bytes + CONTROL_SPARE <= CONTROL_QUEUE;
  uint32_t events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);
  if (events == c->events) return;
  c->events = events;
  watch(shim, c->fd, events, WATCH_CONN);
}

void output_flush(struct shim *shim) {
  struct connection *c = &shim->conn;
  if (c->fd < 0) return;
  uint8_t frame[FRAME_MAX_CONTROL];
  tell_losses(shim);
  bool full = false;
  while (!c->closing) {
    full = !flush_part(shim) || !flush_control(shim);
    if (full) break;
    if (c->subscribed && c->cursor < shim->ring.next) {
      if (c->cursor >= limit_of(shim)) break;
      if (c->cursor < shim->ring.first) {
        add_gap(shim, shim->ring.first);
        continue;
      }
      if (flush_frames(shim)) continue;
      full = true;
      break;
    }
    if (!c->exit_sent && ending_told(shim)) {
      c->exit_sent = true;
      output_control(shim, frame, frame_exit(frame, &shim->exit));
      continue;
    }
    break;
  }
  if (c->closing) connection_close(shim);
  else set_events(shim, full);
}

void output_late(struct shim *shim) {
  struct connection *c = &shim->conn;
  // A program besides init has one reader, which may take its time.
  if (shim->exec || !shim->held || !output_waits(shim)) return;
  uint32_t patience = shim->log.enabled ? shim->config.late_ms : shim->config.stall_ms;
  if (shim->now - c->progress_at < patience) return;
  if (shim->log.enabled) c->behind = true;
  else connection_close(shim);
}
