// The container's CRI log: `<RFC3339Nano> stdout|stderr P|F <content>`, written before anybody else sees the bytes.
#define _GNU_SOURCE
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "bytes.h"
#include "util.h"

// Records are read by the kubelet and by log shippers of the root group only.
#define LOG_MODE 0640

// Opens the log below its directory: no symbolic link, nothing outside, a regular file with one name. 0 or an errno.
static int open_log(const char *dir, const char *path, int *out, struct stat *st) {
  int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (dir_fd < 0) return errno;
  struct open_how how;
  memset(&how, 0, sizeof how);
  how.flags = O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  how.mode = LOG_MODE;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof how);
  int error = fd < 0 ? errno : 0;
  close(dir_fd);
  if (error != 0) return error;
  if (fstat((int)fd, st) < 0) error = errno;
  else if (!S_ISREG(st->st_mode)) error = EINVAL;
  else if (st->st_nlink != 1) error = EMLINK;
  if (error != 0) {
    close((int)fd);
    return error;
  }
  *out = (int)fd;
  return 0;
}

static void adopt(struct log_file *log, int fd, const struct stat *st) {
  log->fd = fd;
  log->inode = st->st_ino;
  log->device = st->st_dev;
  log->position = (uint64_t)st->st_size;
  // File systems use the inode of a deleted file again: shorter than what was written there, this is not that file.
  if (log->position < index_bytes(log->index, log->inode, log->device)) index_forget(log->index, log->inode, log->device);
  index_begin(log->index, log->offset, log->inode, log->device, log->position);
}

int log_init(struct log_file *log, const char *dir, const char *path, uint32_t partial_ms) {
  memset(log, 0, sizeof *log);
  log->fd = -1;
  if (dir == NULL) return 0;
  log->enabled = true;
  log->dir = dir;
  log->path = path;
  log->partial_ms = partial_ms;
  log->buffer = map_buffer(LOG_BUFFER);
  log->partial = map_buffer(LOG_MAX_CONTENT);
  log->index = map_buffer(sizeof *log->index);
  if (log->buffer == NULL || log->partial == NULL || log->index == NULL) return ENOMEM;
  struct stat st;
  int fd;
  int error = open_log(dir, path, &fd, &st);
  if (error == 0) adopt(log, fd, &st);
  return error;
}

// What has been appended and is not written is lost; the next record that gets through begins a new segment.
static void lose(struct log_file *log, int error) {
  if (log->end == log->offset) return;
  if (!log->hole) log->losses++;
  log->hole = true;
  log->report = true;
  log->bytes_lost += log->end - log->offset;
  log->last_error = error;
  log->offset = log->end;
}

// Stream bytes in `bytes` bytes of whole records: the content, and the newline where the record ends a line.
static uint64_t content_bytes(const uint8_t *records, size_t bytes) {
  uint64_t sum = 0;
  for (size_t at = 0; at < bytes;) {
    const uint8_t *end = memchr(records + at, '\n', bytes - at);
    size_t record = (size_t)(end - (records + at)) + 1;
    bool full = records[at + LOG_HEAD - 2] == 'F';
    sum += record - LOG_HEAD - (full ? 0 : 1);
    at += record;
  }
  return sum;
}

// A file that is shorter than what was written was truncated by somebody. `uncounted`: bytes at its end that `position` is without.
static void check_truncated(struct log_file *log, size_t uncounted) {
  struct stat st;
  if (log->fd < 0 || fstat(log->fd, &st) < 0 || (uint64_t)st.st_size >= log->position + uncounted) return;
  index_forget(log->index, log->inode, log->device);
  log->position = (size_t)st.st_size < uncounted ? 0 : (uint64_t)st.st_size - uncounted;
  index_begin(log->index, log->offset, log->inode, log->device, log->position);
}

// Everything that is buffered, with what was left where it is.
static ssize_t write_out(const struct log_file *log, size_t bytes) {
  struct iovec vector[2 * LOG_LEFT_MOST + 1];
  int count = 0;
  size_t at = 0;
  for (unsigned i = 0; i < log->left_count; i++) {
    const struct log_left *left = &log->left[i];
    vector[count++] = (struct iovec){log->buffer + at, left->at - at};
    vector[count++] = (struct iovec){(void *)(uintptr_t)left->data, left->bytes};
    at = left->at + left->bytes;
  }
  // A record ends with a newline of ours: something is behind the last.
  vector[count++] = (struct iovec){log->buffer + at, bytes - at};
  ssize_t written;
  do written = writev(log->fd, vector, count);
  while (written < 0 && errno == EINTR);
  return written;
}

static void take_in(struct log_file *log) {
  for (unsigned i = 0; i < log->left_count; i++) memcpy(log->buffer + log->left[i].at, log->left[i].data, log->left[i].bytes);
}

// What a full disk cuts off is cut back to the last whole record.
void log_write(struct log_file *log) {
  if (log->buffered == 0) return;
  size_t bytes = log->buffered;
  log->buffered = 0;
  if (log->index->position_count > 0 &&
      log->offset - log->index->positions[log->index->position_count - 1].offset >= INDEX_STEP) {
    check_truncated(log, 0);
  }
  ssize_t written = write_out(log, bytes);
  if (written > 0 && (size_t)written < bytes) take_in(log);
  log->left_count = 0;
  int error = written < 0 ? errno : ENOSPC;
  if (written <= 0) {
    lose(log, error);
    return;
  }
  size_t whole = (size_t)written, torn = 0;
  if (whole < bytes) {
    const uint8_t *last = memrchr(log->buffer, '\n', whole);
    size_t kept = last == NULL ? 0 : (size_t)(last - log->buffer) + 1;
    // Cut where the file ends now: beyond it, ftruncate would put zeros there.
    check_truncated(log, whole);
    // A half record that cannot be cut off would be read as the beginning of the next one: end it there.
    if (kept < whole && ftruncate(log->fd, (off_t)(log->position + kept)) < 0) {
      torn = whole - kept;
      if (write(log->fd, "\n", 1) == 1) torn++;
    }
    whole = kept;
  }
  if (whole > 0) {
    if (log->hole) index_begin(log->index, log->offset, log->inode, log->device, log->position);
    else index_mark(log->index, log->offset, log->position);
    log->hole = false;
    log->position += whole;
    log->offset = whole == bytes ? log->end : log->offset + content_bytes(log->buffer, whole);
    index_extend(log->index, log->offset, log->position);
  }
  log->position += torn;
  lose(log, error);
}

static void format_digits(char *out, unsigned value, int digits) {
  while (digits-- > 0) {
    out[digits] = (char)('0' + value % 10);
    value /= 10;
  }
}

// Records of one read carry one time.
static void stamp(struct log_file *log) {
  uint64_t now = wall_ns();
  time_t seconds = (time_t)(now / 1000000000u);
  struct tm t;
  gmtime_r(&seconds, &t);
  char *p = log->time;
  memcpy(p, "0000-00-00T00:00:00.000000000Z", 31);
  format_digits(p, (unsigned)(t.tm_year + 1900), 4);
  format_digits(p + 5, (unsigned)(t.tm_mon + 1), 2);
  format_digits(p + 8, (unsigned)t.tm_mday, 2);
  format_digits(p + 11, (unsigned)t.tm_hour, 2);
  format_digits(p + 14, (unsigned)t.tm_min, 2);
  format_digits(p + 17, (unsigned)t.tm_sec, 2);
  format_digits(p + 20, (unsigned)(now % 1000000000u), 9);
}

// Puts one record into the buffer: what is pending and then `bytes` bytes.
static void add_record(struct log_file *log, uint8_t stream, char kind, const uint8_t *data, size_t bytes) {
  size_t need = LOG_HEAD + log->pending + bytes + 1;
  if (log->buffered + need > LOG_BUFFER) log_write(log);
  uint8_t *p = log->buffer + log->buffered;
  memcpy(p, log->time, 30);
  memcpy(p + 30, stream == 1 ? " stdout " : " stderr ", 8);
  p[38] = (uint8_t)kind;
  p[39] = ' ';
  p += LOG_HEAD;
  if (log->pending > 0) memcpy(p, log->partial, log->pending);
  p += log->pending;
  if (bytes >= LOG_LEFT_LEAST && log->left_count < LOG_LEFT_MOST) {
    log->left[log->left_count++] = (struct log_left){(size_t)(p - log->buffer), bytes, data};
  } else {
    copy_line(p, data, bytes);
  }
  p[bytes] = '\n';
  log->buffered += need;
  log->end += log->pending + bytes + (kind == 'F' ? 1 : 0);
  log->pending = 0;
}

void log_flush_partial(struct log_file *log) {
  if (log->pending > 0) {
    stamp(log);
    add_record(log, log->pending_stream, 'P', NULL, 0);
  }
  log_write(log);
}

void log_append(struct log_file *log, uint8_t stream, const uint8_t *data, size_t bytes, uint64_t now) {
  if (!log->enabled || bytes == 0) return;
  if (log->pending > 0 && log->pending_stream != stream) log_flush_partial(log);
  stamp(log);
  const uint8_t *end = data + bytes;
  while (data < end) {
    size_t room = LOG_MAX_CONTENT - log->pending;
    size_t look = (size_t)(end - data) < room + 1 ? (size_t)(end - data) : room + 1;
    const uint8_t *newline = find_newline(data, look);
    if (newline != NULL) {
      size_t content = (size_t)(newline - data);
      add_record(log, stream, 'F', data, content);
      data = newline + 1;
    } else if ((size_t)(end - data) >= room) {
      add_record(log, stream, 'P', data, room);
      data += room;
    } else {
      if (log->pending == 0) log->pending_since = now;
      size_t rest = (size_t)(end - data);
      memcpy(log->partial + log->pending, data, rest);
      log->pending += (uint32_t)rest;
      log->pending_stream = stream;
      data = end;
    }
  }
}

int log_reopen(struct log_file *log) {
  if (!log->enabled) return EINVAL;
  log_flush_partial(log);
  struct stat st;
  int fd;
  int error = open_log(log->dir, log->path, &fd, &st);
  if (error != 0) return error;
  if (log->fd >= 0) close(log->fd);
  log->hole = false;
  adopt(log, fd, &st);
  return 0;
}

void log_locate(struct log_file *log, uint64_t offset, uint64_t limit, struct location *location) {
  if (!log->enabled) {
    memset(location, 0, sizeof *location);
    location->kind = 3;
    location->first = offset;
    location->end = limit;
    return;
  }
  check_truncated(log, 0);
  index_locate(log->index, offset, limit, location);
}

void log_idle(struct log_file *log) {
  drop_pages(log->buffer, LOG_BUFFER);
  if (log->pending == 0) drop_pages(log->partial, LOG_MAX_CONTENT);
}
