// Frames between daemon and shim as bytes: the table in PROTOCOL.md. No socket here; tested against vectors.json.
#ifndef BERTH_FRAME_H
#define BERTH_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_VERSION 1u
#define FRAME_HEADER 8u
#define FRAME_MAX_DATA 65536u
#define FRAME_MAX_PAYLOAD 65552u
// HELLO and EXEC are the longest requests but STDIN, whose data is passed on as it comes.
#define FRAME_MAX_REQUEST 36u
// Header and offset of OUTPUT.
#define FRAME_OUTPUT_HEAD 16u
// WELCOME, with its header, is the longest frame to the daemon but OUTPUT; REPLY to LOCATE has 72.
#define FRAME_MAX_CONTROL 80u
#define OFFSET_NEXT UINT64_MAX

enum request_type {
  REQUEST_HELLO = 0x01,
  REQUEST_SUBSCRIBE,
  REQUEST_UNSUBSCRIBE,
  REQUEST_ACK,
  REQUEST_STDIN,
  REQUEST_CLOSE_STDIN,
  REQUEST_RESIZE,
  REQUEST_SIGNAL,
  REQUEST_REOPEN_LOG,
  REQUEST_FLUSH,
  REQUEST_LOCATE,
  REQUEST_STDIN_STATE,
  REQUEST_LEAVE,
  REQUEST_EXEC,
};

enum event_type {
  EVENT_WELCOME = 0x81,
  EVENT_OUTPUT,
  EVENT_GAP,
  EVENT_STDIN_CREDIT,
  EVENT_STDIN_CLOSED,
  EVENT_LOG_LOSS,
  EVENT_EXIT,
  EVENT_REPLY,
  EVENT_FAILED,
};

struct request {
  uint8_t type;
  uint32_t seq;
  uint32_t version;
  uint8_t secret[32];
  uint64_t offset;
  uint32_t window;
  uint32_t bytes;  // of STDIN, all of the frame
  uint16_t columns, rows;
  uint8_t signal, everything;
};

// Who gets what the parser finds. Returning false ends the parsing: the connection is to be closed.
struct frame_sink {
  // A whole request; for STDIN its head, before any of its data.
  bool (*request)(void *context, const struct request *request);
  // The next bytes of the STDIN frame announced last.
  bool (*stdin_data)(void *context, const uint8_t *data, size_t bytes);
};

// States: collecting a header, collecting a payload, passing on data of STDIN.
struct frame_parser {
  uint8_t head[FRAME_HEADER + FRAME_MAX_REQUEST];
  uint32_t have;
  uint32_t payload;
  uint32_t data_left;
};

// How a call of frame_parse ended.
enum frame_result { FRAME_OK, FRAME_BAD, FRAME_STOP };

// Takes the next bytes; `used` says how many (less than `bytes` only when it did not end with FRAME_OK).
enum frame_result frame_parse(struct frame_parser *parser, const uint8_t *data, size_t bytes, const struct frame_sink *sink,
                              void *context, size_t *used);

struct welcome {
  uint32_t shim_pid, init_pid;
  uint8_t state, tty, stdin_state, has_log;
  uint64_t first, next, started_ns, log_bytes_lost, log_losses;
  uint32_t stdin_credit;
  // The pipe that the daemon may open for itself; inode 0: none.
  uint32_t stdin_fd;
  uint64_t stdin_inode;
};

struct exit_frame {
  uint8_t kind, code, signal, oom, drained;
  uint64_t offset, started_ns, finished_ns;
};

struct location {
  uint8_t kind;
  uint64_t first, end, inode, device, position;
};

// Each writes one frame and gives its length, at most FRAME_MAX_CONTROL.
size_t frame_welcome(uint8_t *out, const struct welcome *welcome);
size_t frame_output_head(uint8_t *out, uint8_t stream, uint64_t offset, uint32_t bytes);
size_t frame_gap(uint8_t *out, uint64_t from, uint64_t to);
size_t frame_stdin_credit(uint8_t *out, uint32_t bytes);
size_t frame_stdin_closed(uint8_t *out, uint8_t reason);
size_t frame_log_loss(uint8_t *out, uint64_t bytes, uint64_t losses, uint32_t error);
size_t frame_exit(uint8_t *out, const struct exit_frame *exit);
size_t frame_failed(uint8_t *out, uint8_t step, uint32_t error);
size_t frame_reply(uint8_t *out, uint32_t seq, uint32_t error);
size_t frame_reply_location(uint8_t *out, uint32_t seq, const struct location *location);
size_t frame_reply_stdin_state(uint8_t *out, uint32_t seq, uint32_t queued, uint32_t unread, uint8_t state);

#endif
