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
// One write(2) carries up to this much: a read of 64 KiB of long lines, or of 80-byte lines with their heads, fits.
#define LOG_BUFFER (128u * 1024)

struct log_file {
  bool enabled;
  const char *dir, *path;
  int fd;
  uint64_t inode, device;
  uint64_t position;  // where the next record will be in the file
  uint64_t offset;    // everything below is in the log, or lost
  uint64_t bytes_lost, losses;
  int last_error;
  bool hole;            // the newest bytes are lost
  bool report;          // a loss that the daemon has not been told of
  uint32_t partial_ms;
  // Formatted records that are not written yet, and their content's bytes.
  uint8_t *buffer;
  size_t buffered;
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
// Appends what was read from a stream (1 stdout, 2 stderr). `now` is monotonic ms.
void log_append(struct log_file *log, uint8_t stream, const uint8_t *data, size_t bytes, uint64_t now);
// Writes a partial line, as a record of kind P.
void log_flush_partial(struct log_file *log);
// Opens the file anew and switches to it; on failure the old one stays. 0 or an errno.
int log_reopen(struct log_file *log);
// LOCATE for an offset below `limit`, from where on the ring alone has the bytes.
void log_locate(struct log_file *log, uint64_t offset, uint64_t limit, struct location *location);
// Gives memory back that only writing needs.
void log_idle(struct log_file *log);

#endif
