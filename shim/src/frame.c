// Frames between daemon and shim as bytes: the table in PROTOCOL.md. No socket here; tested against vectors.json.
#include "frame.h"

#include <string.h>

// Payload length of each request; STDIN has any from 1 to FRAME_MAX_DATA.
static const uint8_t LENGTHS[] = {
    [REQUEST_HELLO] = 36,     [REQUEST_SUBSCRIBE] = 12, [REQUEST_UNSUBSCRIBE] = 0, [REQUEST_ACK] = 8,
    [REQUEST_CLOSE_STDIN] = 0, [REQUEST_RESIZE] = 4,     [REQUEST_SIGNAL] = 6,      [REQUEST_REOPEN_LOG] = 4,
    [REQUEST_FLUSH] = 4,      [REQUEST_LOCATE] = 12,    [REQUEST_STDIN_STATE] = 4, [REQUEST_LEAVE] = 4,
    [REQUEST_EXEC] = 36,
};

// The kernel's and the real-time signals.
#define MAX_SIGNAL 64

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) | (uint32_t)get16(p + 2) << 16; }
static uint64_t get64(const uint8_t *p) { return (uint64_t)get32(p) | (uint64_t)get32(p + 4) << 32; }

static bool check_header(const uint8_t *head, uint32_t length) {
  uint8_t type = head[4];
  if (head[5] != 0 || head[6] != 0 || head[7] != 0) return false;
  if (type == REQUEST_STDIN) return length >= 1 && length <= FRAME_MAX_DATA;
  return type >= REQUEST_HELLO && type <= REQUEST_EXEC && length == LENGTHS[type];
}

static bool decode(const uint8_t *head, struct request *request) {
  const uint8_t *p = head + FRAME_HEADER;
  memset(request, 0, sizeof *request);
  request->type = head[4];
  switch (request->type) {
    case REQUEST_HELLO:
    case REQUEST_EXEC:
      request->version = get32(p);
      memcpy(request->secret, p + 4, sizeof request->secret);
      return true;
    case REQUEST_SUBSCRIBE:
      request->offset = get64(p);
      request->window = get32(p + 8);
      return true;
    case REQUEST_ACK:
      request->offset = get64(p);
      return true;
    case REQUEST_RESIZE:
      request->columns = get16(p);
      request->rows = get16(p + 2);
      return true;
    case REQUEST_SIGNAL:
      request->seq = get32(p);
      request->signal = p[4];
      request->everything = p[5];
      return request->signal <= MAX_SIGNAL && request->everything <= 1;
    case REQUEST_LOCATE:
      request->seq = get32(p);
      request->offset = get64(p + 4);
      return true;
    case REQUEST_REOPEN_LOG:
    case REQUEST_FLUSH:
    case REQUEST_STDIN_STATE:
    case REQUEST_LEAVE:
      request->seq = get32(p);
      return true;
    default:
      return true;
  }
}

enum frame_result frame_parse(struct frame_parser *parser, const uint8_t *data, size_t bytes, const struct frame_sink *sink,
                              void *context, size_t *used) {
  size_t at = 0;
  enum frame_result result = FRAME_OK;
  while (at < bytes && result == FRAME_OK) {
    size_t left = bytes - at;
    if (parser->data_left > 0) {
      size_t take = left < parser->data_left ? left : parser->data_left;
      parser->data_left -= (uint32_t)take;
      if (!sink->stdin_data(context, data + at, take)) result = FRAME_STOP;
      at += take;
      continue;
    }
    uint32_t need = parser->have < FRAME_HEADER ? FRAME_HEADER : FRAME_HEADER + parser->payload;
    size_t take = left < need - parser->have ? left : need - parser->have;
    memcpy(parser->head + parser->have, data + at, take);
    parser->have += (uint32_t)take;
    at += take;
    if (parser->have < need) continue;
    struct request request;
    if (need == FRAME_HEADER) {
      uint32_t length = get32(parser->head);
      if (!check_header(parser->head, length)) {
        result = FRAME_BAD;
        break;
      }
      if (parser->head[4] == REQUEST_STDIN) {
        memset(&request, 0, sizeof request);
        request.type = REQUEST_STDIN;
        request.bytes = length;
        parser->have = 0;
        parser->data_left = length;
        if (!sink->request(context, &request)) result = FRAME_STOP;
        continue;
      }
      parser->payload = length;
      if (length > 0) continue;
    }
    parser->have = 0;
    parser->payload = 0;
    if (!decode(parser->head, &request)) result = FRAME_BAD;
    else if (!sink->request(context, &request)) result = FRAME_STOP;
  }
  *used = at;
  return result;
}

static uint8_t *put32(uint8_t *p, uint32_t value) {
  for (int i = 0; i < 4; i++) *p++ = (uint8_t)(value >> (8 * i));
  return p;
}

static uint8_t *put64(uint8_t *p, uint64_t value) { return put32(put32(p, (uint32_t)value), (uint32_t)(value >> 32)); }

static uint8_t *put_head(uint8_t *p, uint32_t length, uint8_t type, uint8_t flags) {
  p = put32(p, length);
  *p++ = type;
  *p++ = flags;
  *p++ = 0;
  *p++ = 0;
  return p;
}

size_t frame_welcome(uint8_t *out, const struct welcome *w) {
  uint8_t *p = put_head(out, 72, EVENT_WELCOME, 0);
  p = put32(put32(put32(p, FRAME_VERSION), w->shim_pid), w->init_pid);
  *p++ = w->state;
  *p++ = w->tty;
  *p++ = w->stdin_state;
  *p++ = w->has_log;
  p = put64(put64(put64(p, w->first), w->next), w->started_ns);
  p = put64(put64(p, w->log_bytes_lost), w->log_losses);
  return (size_t)(put64(put32(put32(p, w->stdin_credit), w->stdin_fd), w->stdin_inode) - out);
}

size_t frame_output_head(uint8_t *out, uint8_t stream, uint64_t offset, uint32_t bytes) {
  return (size_t)(put64(put_head(out, bytes + 8, EVENT_OUTPUT, stream), offset) - out);
}

size_t frame_gap(uint8_t *out, uint64_t from, uint64_t to) {
  return (size_t)(put64(put64(put_head(out, 16, EVENT_GAP, 0), from), to) - out);
}

size_t frame_stdin_credit(uint8_t *out, uint32_t bytes) {
  return (size_t)(put32(put_head(out, 4, EVENT_STDIN_CREDIT, 0), bytes) - out);
}

size_t frame_stdin_closed(uint8_t *out, uint8_t reason) {
  uint8_t *p = put_head(out, 1, EVENT_STDIN_CLOSED, 0);
  *p++ = reason;
  return (size_t)(p - out);
}

size_t frame_log_loss(uint8_t *out, uint64_t bytes, uint64_t losses, uint32_t error) {
  return (size_t)(put32(put64(put64(put_head(out, 20, EVENT_LOG_LOSS, 0), bytes), losses), error) - out);
}

size_t frame_exit(uint8_t *out, const struct exit_frame *exit) {
  uint8_t *p = put_head(out, 32, EVENT_EXIT, 0);
  *p++ = exit->kind;
  *p++ = exit->code;
  *p++ = exit->signal;
  *p++ = exit->oom;
  *p++ = exit->drained;
  for (int i = 0; i < 3; i++) *p++ = 0;
  return (size_t)(put64(put64(put64(p, exit->offset), exit->started_ns), exit->finished_ns) - out);
}

size_t frame_failed(uint8_t *out, uint8_t step, uint32_t error) {
  uint8_t *p = put_head(out, 8, EVENT_FAILED, 0);
  *p++ = step;
  for (int i = 0; i < 3; i++) *p++ = 0;
  return (size_t)(put32(p, error) - out);
}

size_t frame_reply(uint8_t *out, uint32_t seq, uint32_t error) {
  return (size_t)(put32(put32(put_head(out, 8, EVENT_REPLY, 0), seq), error) - out);
}

size_t frame_reply_location(uint8_t *out, uint32_t seq, const struct location *l) {
  uint8_t *p = put32(put32(put_head(out, 56, EVENT_REPLY, 0), seq), 0);
  *p++ = l->kind;
  for (int i = 0; i < 7; i++) *p++ = 0;
  p = put64(put64(put64(p, l->first), l->end), l->inode);
  return (size_t)(put64(put64(p, l->device), l->position) - out);
}

size_t frame_reply_stdin_state(uint8_t *out, uint32_t seq, uint32_t queued, uint32_t unread, uint8_t state) {
  uint8_t *p = put32(put32(put_head(out, 20, EVENT_REPLY, 0), seq), 0);
  p = put32(put32(p, queued), unread);
  *p++ = state;
  for (int i = 0; i < 3; i++) *p++ = 0;
  return (size_t)(p - out);
}
