// The container's CRI log: `<RFC3339Nano> stdout|stderr P|F <content>`, written before anybody else sees the bytes.
#ifndef BERTH_LOG_H
#define BERTH_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "logindex.h"

// Most content of one record: what readers of CRI logs are made for.
#define LOG_MAX_CONTENT 16384u
// `2006-01-02T15:04:05.000000000Z stdout F `
#define LOG_HEAD 40u
// One writev(2) carries up to this much: LOG_BATCH of long lines with their heads fits.
#define LOG_BUFFER (288u * 1024)
// Output that is read before it is written down, when more waits: a fifth faster than a write for each read, as the page cache takes
// large pieces in large pages.
#define LOG_BATCH (256u * 1024)
// Content of at least so many bytes goes into the file from where it was read, without a copy; this much of it at once, the rest is copied.
#define LOG_LEFT_LEAST 4096u
#define LOG_LEFT_MOST 32u

// Content that is not in the buffer: its place there is empty.
struct log_left {
  size_t at, bytes;
  const uint8_t *data;
};

struct log_file {
  bool enabled;
  const char *dir, *path;
  int fd;
  uint64_t inode, device;
  uint64_t position;  // where the next record will be in the file
  uint64_t offset;    // everything below is in the log, or lost
  uint64_t end;       // everything from there to here is in `buffer`, `pending` bytes from here on are in `partial`
  uint64_t bytes_lost, losses;
  int last_error;
  bool hole;            // the newest bytes are lost
  bool report;          // a loss that the daemon has not been told of
  uint32_t partial_ms;
  // Formatted records that are not written yet.
  uint8_t *buffer;
  size_t buffered;
  struct log_left left[LOG_LEFT_MOST];
  unsigned left_count;
  // A line without its end: `pending` bytes of `pending_stream`; the newest bytes before the next read.
  uint8_t *partial;
  uint32_t pending;
  uint8_t pending_stream;
  uint64_t pending_since;  // monotonic ms
  char time[32];
  struct log_index *index;
};

// Prepares and opens the log. 0 or an errno. Without `dir` there is no log and everything below does nothing.
int log_init(struct log_file *log, const char *dir, const char *path, uint32_t partial_ms);
// Appends what was read from a stream (1 stdout, 2 stderr): `data` stays as it is until log_write. `now` is monotonic ms.
void log_append(struct log_file *log, uint8_t stream, const uint8_t *data, size_t bytes, uint64_t now);
// Writes what has been appended, all but a partial line.
void log_write(struct log_file *log);
// Writes a partial line too, as a record of kind P.
void log_flush_partial(struct log_file *log);
// Opens the file anew and switches to it; on failure the old one stays. 0 or an errno.
int log_reopen(struct log_file *log);
// LOCATE for an offset below `limit`, from where on the ring alone has the bytes.
void log_locate(struct log_file *log, uint64_t offset, uint64_t limit, struct location *location);
// Gives memory back that only writing needs.
void log_idle(struct log_file *log);

#endif
