// Tests of the log when a write takes only a part, the half record cannot be cut off, or somebody truncates the file under us: what is
// in the file are whole records, and LOCATE points at the right ones. writev(2) and ftruncate(2) are ours here (the linker's --wrap).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "check.h"
#include "log.h"

// Line number i is 100 bytes of the stream, and its record in the file 40 more.
#define LINE 100u
#define RECORD (LINE + LOG_HEAD)
// A read of the shim's.
#define LINES_AT_ONCE 600u

static size_t short_write;  // the next write takes only this much; 0: all
static bool append_only;    // as a file with `chattr +a`

ssize_t __real_writev(int fd, const struct iovec *vector, int count);
ssize_t __wrap_writev(int fd, const struct iovec *vector, int count);
ssize_t __wrap_writev(int fd, const struct iovec *vector, int count) {
  if (short_write == 0) return __real_writev(fd, vector, count);
  struct iovec pieces[2 * LOG_LEFT_MOST + 1];
  CHECK(count <= (int)(2 * LOG_LEFT_MOST + 1));
  for (int i = 0; i < count; i++) {
    pieces[i] = vector[i];
    if (pieces[i].iov_len > short_write) pieces[i].iov_len = short_write;
    short_write -= pieces[i].iov_len;
  }
  short_write = 0;
  return __real_writev(fd, pieces, count);
}

int __real_ftruncate(int fd, off_t length);
int __wrap_ftruncate(int fd, off_t length);
int __wrap_ftruncate(int fd, off_t length) {
  if (!append_only) return __real_ftruncate(fd, length);
  errno = EPERM;
  return -1;
}

static char directory[] = "/tmp/berth-shim-torn-XXXXXX";
static char path[64];
static struct log_file log_file;
static unsigned next_line;

static void begin(const char *name) {
  current = name;
  next_line = 0;
  CHECK(log_init(&log_file, directory, "log", 100) == 0);
  // As after long use: what is not copied in is not zeros.
  memset(log_file.buffer, '\n', LOG_BUFFER);
}

static void end(void) {
  close(log_file.fd);
  CHECK(unlink(path) == 0);
}

static void append(unsigned lines) {
  static char text[LINES_AT_ONCE * LINE + 1];
  CHECK(lines <= LINES_AT_ONCE);
  for (unsigned i = 0; i < lines; i++) snprintf(text + LINE * i, LINE + 1, "%099u\n", next_line++);
  log_append(&log_file, 1, (const uint8_t *)text, LINE * lines, 0);
  log_write(&log_file);
}

static uint64_t size(void) {
  struct stat st;
  CHECK(stat(path, &st) == 0);
  return (uint64_t)st.st_size;
}

// The whole record at `position` is that of this line.
static void check_record(uint64_t position, unsigned line) {
  char bytes[RECORD + 1] = "", wanted[LINE + 1];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  CHECK(fd >= 0 && pread(fd, bytes, RECORD, (off_t)position) == (ssize_t)RECORD);
  close(fd);
  snprintf(wanted, sizeof wanted, "%099u\n", line);
  CHECK(memcmp(bytes + 29, "Z stdout F ", 11) == 0 && strcmp(bytes + LOG_HEAD, wanted) == 0);
}

// Records of `count` lines from `line` on are all that the file has from `position` on.
static void check_file(uint64_t position, unsigned line, unsigned count) {
  CHECK(size() == position + (uint64_t)RECORD * count);
  for (unsigned i = 0; i < count; i++) check_record(position + (uint64_t)RECORD * i, line + i);
}

static struct location locate(unsigned line) {
  struct location location;
  log_locate(&log_file, (uint64_t)LINE * line, log_file.offset, &location);
  return location;
}

static void check_located(unsigned line) {
  struct location l = locate(line);
  CHECK(l.kind == 1 && l.first <= (uint64_t)LINE * line && (uint64_t)LINE * line < l.end);
  check_record(l.position, (unsigned)(l.first / LINE));
}

static void check_lost(unsigned from, unsigned to) {
  struct location l = locate(from);
  CHECK(l.kind == 3 && l.first == (uint64_t)LINE * from && l.end == (uint64_t)LINE * to);
}

static void test_short(void) {
  begin("a short write");
  append(10);
  short_write = 3 * RECORD + 17;
  append(10);
  check_file(0, 0, 13);
  CHECK(log_file.bytes_lost == 7 * LINE && log_file.losses == 1);
  append(5);
  check_file((uint64_t)13 * RECORD, 20, 5);
  check_located(12);
  check_lost(13, 20);
  check_located(20);
  end();
}

// Long content is not in the buffer: what a short write leaves of it is found all the same. Lines of both kinds, more long ones than
// are left where they are, and cuts everywhere about the ends of records.
static void test_short_long(void) {
  static const unsigned lengths[] = {LOG_LEFT_LEAST, 50, LOG_LEFT_LEAST + 1, 1, LOG_LEFT_LEAST, LOG_LEFT_LEAST - 1};
  static uint8_t text[LOG_BATCH], file[LOG_BUFFER], found[LOG_BUFFER];
  size_t bytes = 0, records = 0, ends[200], offsets[200];
  unsigned lines = 0, most_left = 0;
  for (;; lines++) {
    unsigned length = lengths[lines % 6];
    if (bytes + length + 1 > sizeof text || records + LOG_HEAD + length + 1 > sizeof file) break;
    memset(text + bytes, 'a' + (int)(lines % 26), length);
    memcpy(file + records + LOG_HEAD, text + bytes, length);
    text[bytes + length] = file[records + LOG_HEAD + length] = '\n';
    offsets[lines] = bytes += length + 1;
    ends[lines] = records += LOG_HEAD + length + 1;
  }
  for (unsigned line = 1; line < lines; line++) {
    for (int by = -1; by <= (int)LOG_HEAD + 2; by += 1 + (int)(line % 7)) {
      begin("a short write of long lines");
      short_write = ends[line - 1] + (size_t)by;
      log_append(&log_file, 1, text, offsets[line], 0);
      if (log_file.left_count > most_left) most_left = log_file.left_count;
      log_write(&log_file);
      unsigned whole = line - (by < 0) + (by >= 0 && ends[line - 1] + (size_t)by >= ends[line]);
      size_t expected = whole == 0 ? 0 : ends[whole - 1];
      CHECK(size() == expected && log_file.position == expected);
      CHECK(log_file.bytes_lost == offsets[line] - (whole == 0 ? 0 : offsets[whole - 1]));
      int fd = open(path, O_RDONLY | O_CLOEXEC);
      CHECK(fd >= 0 && read(fd, found, sizeof found) == (ssize_t)expected);
      close(fd);
      for (size_t at = 0; at < expected;) {
        const uint8_t *newline = memchr(found + at, '\n', expected - at);
        CHECK(newline != NULL);
        size_t record = (size_t)(newline - found) - at + 1;
        CHECK(memcmp(found + at + 29, "Z stdout F ", 11) == 0);
        CHECK(memcmp(found + at + LOG_HEAD, file + at + LOG_HEAD, record - LOG_HEAD) == 0);
        at += record;
      }
      end();
    }
  }
  CHECK(most_left == LOG_LEFT_MOST);
}

static void test_truncated(void) {
  begin("truncated, then LOCATE");
  append(50);
  CHECK(truncate(path, 0) == 0);
  check_lost(3, 50);
  append(5);
  check_file(0, 50, 5);
  check_lost(49, 50);
  check_located(52);
  end();
}

// Far less than an index step after the truncation: nobody has looked at the file's length yet.
static void test_truncated_short(unsigned left, bool lost_before) {
  begin("truncated, then a short write");
  append(50);
  if (lost_before) {
    short_write = RECORD;
    append(2);
  }
  CHECK(truncate(path, (off_t)left * RECORD) == 0);
  unsigned first = next_line;
  short_write = 3 * RECORD + 17;
  append(10);
  check_file((uint64_t)left * RECORD, first, 3);
  CHECK(log_file.position == size());
  check_lost(first - 1, first);
  check_located(first + 2);
  append(5);
  check_file((uint64_t)(left + 3) * RECORD, first + 10, 5);
  check_located(first + 14);
  end();
}

static void test_uncut(void) {
  begin("a half record that cannot be cut off");
  // The index takes its next mark with the write that is torn.
  while (log_file.offset < INDEX_STEP) append(LINES_AT_ONCE);
  unsigned first = next_line;
  uint64_t before = size();
  append_only = true;
  short_write = 30 * RECORD + 17;
  append(50);
  append_only = false;
  CHECK(size() == before + 30 * RECORD + 17 + 1 && log_file.position == size());
  check_located(first - 1);
  check_located(first);
  check_located(first + 29);
  check_lost(first + 30, first + 50);
  // The torn one has got an end, so that what comes next begins a line.
  before = size();
  append(5);
  check_file(before, first + 50, 5);
  check_located(first + 52);
  end();
}

int main(void) {
  CHECK(mkdtemp(directory) != NULL);
  snprintf(path, sizeof path, "%s/log", directory);
  test_short();
  test_short_long();
  test_truncated();
  for (unsigned left = 0; left < 20; left += 5) {
    test_truncated_short(left, false);
    test_truncated_short(left, true);
  }
  test_uncut();
  CHECK(rmdir(directory) == 0);
  printf("torn: short writes, truncated files, records that cannot be cut off\n");
  return 0;
}
