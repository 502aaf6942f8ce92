// Tests of the shim's pure parts, run under ASan and UBSan: the frame vectors, and fuzzing of frame parser, configuration, ring and log.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "config.h"
#include "frame.h"
#include "log.h"
#include "logindex.h"
#include "ring.h"
#include "util.h"

// Rounds: some seconds in all under the sanitizers.
#define PARSER_ROUNDS 200000
#define CONFIG_ROUNDS 100000
#define RING_ROUNDS 200000
#define LOG_BYTES (24u * 1024 * 1024)

// --- vectors.json ---

static char *text;

static void load(const char *path) {
  int fd = open(path, O_RDONLY);
  struct stat st;
  CHECK(fd >= 0 && fstat(fd, &st) == 0);
  text = calloc(1, (size_t)st.st_size + 1);
  CHECK(read(fd, text, (size_t)st.st_size) == st.st_size);
  close(fd);
}

// The value of `key` between `from` and `to`, quoted or not. The file's strings hold no escapes.
static bool value(const char *from, const char *to, const char *key, char *out, size_t size) {
  char quoted[64];
  snprintf(quoted, sizeof quoted, "\"%s\":", key);
  const char *at = memmem(from, (size_t)(to - from), quoted, strlen(quoted));
  if (at == NULL) return false;
  at += strlen(quoted);
  while (*at == ' ') at++;
  const char *end = *at == '"' ? strchr(++at, '"') : at + strcspn(at, ",\n }");
  size_t length = (size_t)(end - at);
  CHECK(length < size);
  memcpy(out, at, length);
  out[length] = 0;
  return true;
}

static size_t unhex(const char *hex, uint8_t *out) {
  size_t n = strlen(hex) / 2;
  for (size_t i = 0; i < n; i++) {
    unsigned byte;
    CHECK(sscanf(hex + 2 * i, "%2x", &byte) == 1);
    out[i] = (uint8_t)byte;
  }
  return n;
}

struct seen {
  struct request request;
  unsigned requests;
  uint8_t data[256];
  size_t bytes;
};

static bool see_request(void *context, const struct request *request) {
  struct seen *seen = context;
  seen->request = *request;
  seen->requests++;
  return true;
}

static bool see_data(void *context, const uint8_t *data, size_t bytes) {
  struct seen *seen = context;
  CHECK(seen->bytes + bytes <= sizeof seen->data);
  memcpy(seen->data + seen->bytes, data, bytes);
  seen->bytes += bytes;
  return true;
}

static const struct frame_sink SEEING = {see_request, see_data};

static uint64_t number(const char *from, const char *to, const char *key) {
  char digits[32];
  CHECK(value(from, to, key, digits, sizeof digits));
  return strtoull(digits, NULL, 10);
}

static void expect_number(const char *from, const char *to, const char *key, uint64_t actual) {
  char digits[32];
  if (value(from, to, key, digits, sizeof digits)) CHECK(strtoull(digits, NULL, 10) == actual);
}

static void check_to_shim(const char *from, const char *to, const uint8_t *bytes, size_t length) {
  // Whole, and byte by byte: the same.
  for (int pass = 0; pass < 2; pass++) {
    struct frame_parser parser = {.have = 0};
    struct seen seen = {.requests = 0};
    size_t used, step = pass == 0 ? length : 1;
    for (size_t at = 0; at < length; at += step) CHECK(frame_parse(&parser, bytes + at, step, &SEEING, &seen, &used) == FRAME_OK);
    CHECK(seen.requests == 1 && parser.have == 0 && parser.data_left == 0);
    const struct request *r = &seen.request;
    CHECK(r->type == bytes[4]);
    char hex[256];
    uint8_t data[128];
    const char *fields = memmem(from, (size_t)(to - from), "\"fields\"", 8);
    CHECK(fields != NULL);
    expect_number(fields, to, "version", r->version);
    expect_number(fields, to, "from", r->offset);
    expect_number(fields, to, "offset", r->offset);
    expect_number(fields, to, "window", r->window);
    expect_number(fields, to, "columns", r->columns);
    expect_number(fields, to, "rows", r->rows);
    expect_number(fields, to, "signal", r->signal);
    expect_number(fields, to, "everything", r->everything);
    expect_number(fields, to, "seq", r->seq);
    if (value(fields, to, "secret", hex, sizeof hex)) CHECK(unhex(hex, data) == 32 && memcmp(data, r->secret, 32) == 0);
    if (value(fields, to, "data", hex, sizeof hex)) {
      size_t n = unhex(hex, data);
      CHECK(n == seen.bytes && n == r->bytes && memcmp(data, seen.data, n) == 0);
    }
  }
}

static size_t encode(const char *name, const char *f, const char *to, uint8_t *out) {
  if (strcmp(name, "WELCOME") == 0) {
    struct welcome w = {
        .shim_pid = (uint32_t)number(f, to, "shimPid"), .init_pid = (uint32_t)number(f, to, "initPid"),
        .state = (uint8_t)number(f, to, "state"), .tty = (uint8_t)number(f, to, "tty"),
        .stdin_state = (uint8_t)number(f, to, "stdin"), .has_log = (uint8_t)number(f, to, "hasLog"),
        .first = number(f, to, "first"), .next = number(f, to, "next"), .started_ns = number(f, to, "startedAt"),
        .log_bytes_lost = number(f, to, "logBytesLost"), .log_losses = number(f, to, "logLosses"),
        .stdin_credit = (uint32_t)number(f, to, "stdinCredit"), .stdin_fd = (uint32_t)number(f, to, "stdinFd"),
        .stdin_inode = number(f, to, "stdinInode")};
    return frame_welcome(out, &w);
  }
  if (strcmp(name, "OUTPUT") == 0) {
    char hex[256];
    CHECK(value(f, to, "data", hex, sizeof hex));
    size_t head = frame_output_head(out, (uint8_t)number(f, to, "stream"), number(f, to, "offset"), (uint32_t)strlen(hex) / 2);
    return head + unhex(hex, out + head);
  }
  if (strcmp(name, "GAP") == 0) return frame_gap(out, number(f, to, "from"), number(f, to, "to"));
  if (strcmp(name, "STDIN_CREDIT") == 0) return frame_stdin_credit(out, (uint32_t)number(f, to, "bytes"));
  if (strcmp(name, "STDIN_CLOSED") == 0) return frame_stdin_closed(out, (uint8_t)number(f, to, "reason"));
  if (strcmp(name, "LOG_LOSS") == 0)
    return frame_log_loss(out, number(f, to, "bytes"), number(f, to, "losses"), (uint32_t)number(f, to, "errno"));
  if (strcmp(name, "EXIT") == 0) {
    struct exit_frame e = {
        .kind = (uint8_t)number(f, to, "kind"), .code = (uint8_t)number(f, to, "code"), .signal = (uint8_t)number(f, to, "signal"),
        .oom = (uint8_t)number(f, to, "oom"), .drained = (uint8_t)number(f, to, "drained"), .offset = number(f, to, "offset"),
        .started_ns = number(f, to, "startedAt"), .finished_ns = number(f, to, "finishedAt")};
    return frame_exit(out, &e);
  }
  CHECK(strcmp(name, "REPLY") == 0);
  uint32_t seq = (uint32_t)number(f, to, "seq");
  char hex[256];
  uint8_t data[128];
  CHECK(value(f, to, "data", hex, sizeof hex));
  size_t n = unhex(hex, data);
  if (n == 48) {
    uint64_t v[5];
    memcpy(v, data + 8, sizeof v);
    struct location l = {.kind = data[0], .first = v[0], .end = v[1], .inode = v[2], .device = v[3], .position = v[4]};
    return frame_reply_location(out, seq, &l);
  }
  if (n == 12) {
    uint32_t v[2];
    memcpy(v, data, sizeof v);
    return frame_reply_stdin_state(out, seq, v[0], v[1], data[8]);
  }
  CHECK(n == 0);
  return frame_reply(out, seq, (uint32_t)number(f, to, "errno"));
}

static void test_vectors(void) {
  unsigned good = 0, bad = 0;
  const char *malformed = strstr(text, "\"malformed\"");
  CHECK(malformed != NULL);
  for (const char *from = text; (from = strstr(from, "\"name\":")) != NULL;) {
    const char *next = strstr(from + 1, "\"name\":"), *to = next != NULL ? next : from + strlen(from);
    static char name[128];
    char direction[16], hex[512], frame[32];
    uint8_t bytes[256], encoded[256];
    CHECK(value(from, to, "name", name, sizeof name) && value(from, to, "direction", direction, sizeof direction));
    current = name;
    CHECK(value(from, to, "hex", hex, sizeof hex));
    size_t length = unhex(hex, bytes);
    bool to_shim = strcmp(direction, "to-shim") == 0;
    if (from < malformed) {
      good++;
      CHECK(value(from, to, "frame", frame, sizeof frame));
      if (to_shim) check_to_shim(from, to, bytes, length);
      else CHECK(encode(frame, from, to, encoded) == length && memcmp(encoded, bytes, length) == 0);
      if (!to_shim && strcmp(frame, "OUTPUT") != 0) CHECK(length <= FRAME_MAX_CONTROL);
    } else if (to_shim) {
      bad++;
      struct frame_parser parser = {.have = 0};
      struct seen seen = {.requests = 0};
      size_t used;
      CHECK(frame_parse(&parser, bytes, length, &SEEING, &seen, &used) == FRAME_BAD && seen.requests == 0);
    }
    from = to;
    if (next == NULL) break;
  }
  CHECK(good >= 30 && bad >= 20);
  printf("vectors: %u good, %u malformed\n", good, bad);
}

// --- frame parser ---

struct fuzzed {
  uint64_t requests, data;
  uint32_t expected;
};

static bool fuzz_request(void *context, const struct request *request) {
  struct fuzzed *f = context;
  CHECK(f->expected == 0);
  CHECK(request->type >= REQUEST_HELLO && request->type <= REQUEST_LEAVE);
  if (request->type == REQUEST_STDIN) {
    CHECK(request->bytes >= 1 && request->bytes <= FRAME_MAX_DATA);
    f->expected = request->bytes;
  }
  f->requests++;
  return true;
}

static bool fuzz_data(void *context, const uint8_t *data, size_t bytes) {
  struct fuzzed *f = context;
  CHECK(bytes > 0 && bytes <= f->expected);
  volatile uint8_t last = data[bytes - 1];
  (void)last;
  f->expected -= (uint32_t)bytes;
  f->data += bytes;
  return true;
}

static void test_parser(void) {
  current = "frame parser";
  static const struct frame_sink SINK = {fuzz_request, fuzz_data};
  static const uint8_t LENGTHS[] = {0, 36, 12, 0, 8, 1, 0, 4, 6, 4, 4, 12, 4, 4};
  struct fuzzed f = {0};
  struct frame_parser parser = {.have = 0};
  uint64_t ok = 0, refused = 0;
  for (int round = 0; round < PARSER_ROUNDS; round++) {
    uint8_t bytes[512];
    size_t length = chance(sizeof bytes);
    for (size_t i = 0; i < length; i++) bytes[i] = (uint8_t)chance(256);
    // Most rounds look like frames, with a few bytes wrong.
    for (size_t at = 0; chance(8) != 0 && at + 8 <= length;) {
      uint8_t type = (uint8_t)(1 + chance(13));
      uint32_t payload = type == REQUEST_STDIN ? 1 + chance(100) : LENGTHS[type];
      uint8_t head[8] = {(uint8_t)payload, 0, 0, 0, type, 0, 0, 0};
      memcpy(bytes + at, head, 8);
      if (type == REQUEST_SIGNAL && at + 14 <= length) bytes[at + 12] = (uint8_t)chance(66), bytes[at + 13] = (uint8_t)chance(2);
      at += 8 + payload;
    }
    if (length > 0 && chance(3) == 0) bytes[chance((uint32_t)length)] ^= (uint8_t)(1 << chance(8));
    for (size_t at = 0; at < length;) {
      size_t step = 1 + chance((uint32_t)(length - at)), used;
      // An exact allocation: the sanitizer sees a read beyond it.
      uint8_t *piece = malloc(step);
      memcpy(piece, bytes + at, step);
      enum frame_result result = frame_parse(&parser, piece, step, &SINK, &f, &used);
      free(piece);
      CHECK(result == FRAME_OK ? used == step : used <= step);
      if (result != FRAME_OK) {
        refused++;
        memset(&parser, 0, sizeof parser);
        f.expected = 0;
        break;
      }
      ok++;
      at += step;
    }
  }
  CHECK(ok > 1000 && refused > 1000 && f.requests > 1000 && f.data > 1000);
  printf("frame parser: %llu requests, %llu refusals\n", (unsigned long long)f.requests, (unsigned long long)refused);
}

// --- configuration ---

static const char *const PARTS[] = {
    "id=c1", "secret=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "state=/s", "record=/r", "lxc-start=/l",
    "lxc-name=n", "lxc-path=/p", "lxc-config=/c", "lxc-log=/o", "trampoline=/t", "arg=sh", "arg=", "env=A=B", "cwd=/", "tty=1", "stdin=0",
    "rows=24", "cols=80", "log-dir=/d", "log-path=a/b", "ring=65536", "late-ms=20", "cgroup=/a", "shim-cgroup=/b", "oom=/x", "rows=0",
    "ring=1", "tty=2", "late-ms=-1", "nonsense=1", "=", "secret=00", "stall-ms=99999999999999999999999",
};

static void test_config(void) {
  current = "configuration";
  unsigned good = 0, bad = 0;
  size_t parts = sizeof PARTS / sizeof *PARTS;
  for (int round = 0; round < CONFIG_ROUNDS; round++) {
    char *bytes = malloc(8192);
    size_t length = 0;
    // A complete configuration, with something left out, added, or broken.
    uint32_t skip = chance(30), extra = chance(2) ? (uint32_t)(26 + chance((uint32_t)parts - 26)) : UINT32_MAX;
    for (size_t i = 0; i < parts; i++) {
      if (i == skip || (i >= 25 && i != extra)) continue;
      memcpy(bytes + length, PARTS[i], strlen(PARTS[i]) + 1);
      length += strlen(PARTS[i]) + 1;
    }
    if (chance(4) == 0) bytes[chance((uint32_t)length)] = (char)chance(256);
    if (chance(8) == 0) length -= chance((uint32_t)length);
    char *exact = malloc(length);
    memcpy(exact, bytes, length);
    free(bytes);
    struct config config;
    if (config_parse(&config, exact, length) == NULL) {
      good++;
      CHECK(config.arg_count > 0 && config.state[0] == '/' && config.ring >= 65536 && config.rows > 0);
    } else {
      bad++;
    }
    free(exact);
  }
  CHECK(good > 1000 && bad > 1000);
  printf("configuration: %u accepted, %u refused\n", good, bad);
}

// --- ring ---

struct ring_model {
  uint64_t kept;  // nothing from here on may be given up
  uint64_t evicted;
};

static bool model_evict(void *context, const struct ring_record *record, const uint8_t *data) {
  struct ring_model *model = context;
  CHECK(record->offset == model->evicted);
  for (uint32_t i = 0; i < record->bytes; i += 1 + record->bytes / 4) CHECK(data[i] == (uint8_t)((record->offset + i) * 31 + record->stream));
  if (record->offset + record->bytes > model->kept) return false;
  model->evicted = record->offset + record->bytes;
  return true;
}

static void test_ring(void) {
  current = "ring";
  struct ring ring;
  CHECK(ring_init(&ring, 65536));
  struct ring_model model = {.kept = UINT64_MAX};
  unsigned blocked = 0;
  for (int round = 0; round < RING_ROUNDS; round++) {
    if (chance(50) == 0) model.kept = chance(2) ? UINT64_MAX : ring.next - (ring.next > 60000 ? chance(60000) : 0);
    uint8_t *space;
    uint32_t room = ring_reserve(&ring, 16384, &space, model_evict, &model);
    CHECK(room <= 16384 && ring.first == model.evicted);
    if (room == 0) {
      blocked++;
      model.kept = UINT64_MAX;
      continue;
    }
    uint32_t bytes = 1 + chance(chance(3) == 0 ? room : room < 64 ? room : 64);
    uint8_t stream = (uint8_t)(1 + chance(2));
    for (uint32_t i = 0; i < bytes; i++) space[i] = (uint8_t)((ring.next + i) * 31 + stream);
    uint64_t before = ring.next;
    uint32_t position = ring_commit(&ring, stream, bytes);
    CHECK(ring_find(&ring, before) == position && ring.next == before + bytes);
    if (round % 97 != 0) continue;
    uint64_t at = ring.first;
    uint32_t last = RING_NONE;
    for (uint32_t p = ring_find(&ring, at); p != RING_NONE; last = p, p = ring_after(&ring, p)) {
      struct ring_record record = ring_at(&ring, p);
      CHECK(record.offset == at && record.bytes > 0);
      for (uint32_t i = 0; i < record.bytes; i++) CHECK(ring_data(&ring, p)[i] == (uint8_t)((at + i) * 31 + record.stream));
      at += record.bytes;
    }
    CHECK(at == ring.next && last == ring.last);
  }
  CHECK(blocked > 10 && ring.first > 0);
  printf("ring: %llu bytes, blocked %u times\n", (unsigned long long)ring.next, blocked);
}

// --- log and index ---

static uint8_t *written;
static uint64_t written_bytes;
static uint8_t *streams;

// Reads CRI records of a file from a position and compares with what was written from `offset` on. Gives the offset reached.
static uint64_t compare(const char *path, uint64_t position, uint64_t offset) {
  int fd = open(path, O_RDONLY);
  CHECK(fd >= 0);
  off_t size = lseek(fd, 0, SEEK_END);
  size_t length = (size_t)size - position;
  char *content = malloc(length + 1);
  CHECK(pread(fd, content, length, (off_t)position) == (ssize_t)length);
  close(fd);
  for (size_t at = 0; at < length;) {
    char *end = memchr(content + at, '\n', length - at);
    CHECK(end != NULL);
    size_t record = (size_t)(end - (content + at));
    CHECK(record >= LOG_HEAD && record <= LOG_HEAD + LOG_MAX_CONTENT);
    const char *p = content + at;
    CHECK(p[4] == '-' && p[10] == 'T' && p[19] == '.' && p[29] == 'Z' && p[30] == ' ' && p[37] == ' ' && p[39] == ' ');
    int stream = memcmp(p + 31, "stdout", 6) == 0 ? 1 : 2;
    if (stream == 2) CHECK(memcmp(p + 31, "stderr", 6) == 0);
    size_t bytes = record - LOG_HEAD;
    CHECK(offset + bytes <= written_bytes && memcmp(p + LOG_HEAD, written + offset, bytes) == 0);
    for (size_t i = 0; i < bytes; i++) CHECK(streams[offset + i] == stream);
    offset += bytes;
    CHECK(p[38] == 'P' || p[38] == 'F');
    if (p[38] == 'F') {
      CHECK(written[offset] == '\n' && streams[offset] == stream);
      offset++;
    }
    at += record + 1;
  }
  free(content);
  return offset;
}

static void check_locations(struct log_file *log, const char *directory, unsigned files) {
  for (int i = 0; i < 40; i++) {
    uint64_t offset = ((uint64_t)chance(1 << 30) << 10 | chance(1024)) % (log->offset + 1);
    struct location l;
    log_locate(log, offset, log->offset, &l);
    if (offset == log->offset) continue;
    CHECK(l.kind == 1 && l.first <= offset && offset < l.end && l.end <= log->offset);
    bool found = false;
    for (unsigned f = 0; f <= files && !found; f++) {
      char path[256];
      snprintf(path, sizeof path, f == files ? "%s/log" : "%s/log.%u", directory, f);
      struct stat st;
      CHECK(stat(path, &st) == 0);
      if (st.st_ino != l.inode) continue;
      found = true;
      CHECK(compare(path, l.position, l.first) == l.end);
    }
    CHECK(found);
  }
}

static void test_log(void) {
  current = "log";
  char directory[] = "/tmp/berth-shim-unit-XXXXXX";
  CHECK(mkdtemp(directory) != NULL);
  written = malloc(LOG_BYTES + 70000);
  streams = malloc(LOG_BYTES + 70000);
  struct log_file log;
  CHECK(log_init(&log, directory, "log", 100) == 0);
  unsigned files = 0;
  uint64_t now = 0;
  while (written_bytes < LOG_BYTES) {
    size_t bytes = 1 + chance(chance(4) == 0 ? 65536 : 200);
    uint8_t stream = (uint8_t)(1 + (chance(4) == 0));
    uint32_t line = 1 + chance(chance(3) == 0 ? 40000 : 100);
    for (size_t i = 0; i < bytes; i++) {
      written[written_bytes + i] = chance(line) == 0 ? '\n' : (uint8_t)('a' + chance(26));
      streams[written_bytes + i] = stream;
    }
    log_append(&log, stream, written + written_bytes, bytes, now);
    written_bytes += bytes;
    CHECK(log.offset <= log.end && log.end + log.pending == written_bytes);
    // What several reads have brought is written at once, or sooner by what does not fit.
    if (chance(3) == 0) log_write(&log);
    CHECK(log.buffered > 0 || log.offset == log.end);
    if (chance(20) == 0) log_flush_partial(&log);
    if (chance(300) == 0 && files < 10) {
      char from[256], to[256];
      snprintf(from, sizeof from, "%s/log", directory);
      snprintf(to, sizeof to, "%s/log.%u", directory, files++);
      CHECK(rename(from, to) == 0 && log_reopen(&log) == 0 && log.pending == 0);
    }
    if (chance(400) == 0) check_locations(&log, directory, files);
  }
  log_flush_partial(&log);
  CHECK(log.offset == written_bytes && log.losses == 0);
  // All files together, oldest first, are exactly what was written.
  uint64_t offset = 0;
  for (unsigned f = 0; f <= files; f++) {
    char path[256];
    snprintf(path, sizeof path, f == files ? "%s/log" : "%s/log.%u", directory, f);
    offset = compare(path, 0, offset);
    CHECK(unlink(path) == 0);
  }
  CHECK(offset == written_bytes);
  rmdir(directory);
  printf("log: %llu bytes over %u files\n", (unsigned long long)offset, files + 1);
}

static void append(struct log_file *log, const char *text) {
  log_append(log, 1, (const uint8_t *)text, strlen(text), 0);
  log_write(log);
}

static void reopen_as(struct log_file *log, const char *directory, const char *name) {
  char path[256], kept[256];
  snprintf(path, sizeof path, "%s/log", directory);
  snprintf(kept, sizeof kept, "%s/%s", directory, name);
  CHECK(rename(path, kept) == 0 && log_reopen(log) == 0);
}

// A new log file with the inode of a deleted one: made from the old file itself, emptied, as a file system uses inodes when it likes.
static void test_inode_used_again(void) {
  current = "inode used again";
  char directory[] = "/tmp/berth-shim-unit-XXXXXX";
  CHECK(mkdtemp(directory) != NULL);
  struct log_file log;
  CHECK(log_init(&log, directory, "log", 100) == 0);
  append(&log, "first\n");
  uint64_t inode = log.inode;
  reopen_as(&log, directory, "old");
  append(&log, "second\n");
  // The same file again: nothing is forgotten.
  CHECK(log_reopen(&log) == 0);
  struct location l;
  log_locate(&log, 0, log.offset, &l);
  CHECK(l.kind == 1 && l.inode == inode && l.first == 0 && l.end == 6);
  log_locate(&log, 6, log.offset, &l);
  CHECK(l.kind == 1 && l.inode != inode && l.first == 6 && l.end == 13);
  char path[256], old[256], second[256];
  snprintf(path, sizeof path, "%s/log", directory);
  snprintf(old, sizeof old, "%s/old", directory);
  snprintf(second, sizeof second, "%s/second", directory);
  CHECK(rename(path, second) == 0 && rename(old, path) == 0 && truncate(path, 0) == 0 && log_reopen(&log) == 0);
  CHECK(log.inode == inode);
  append(&log, "third and longer\n");
  log_locate(&log, 0, log.offset, &l);
  CHECK(l.kind == 3 && l.first == 0 && l.end == 6);
  log_locate(&log, 6, log.offset, &l);
  CHECK(l.kind == 1 && l.inode != inode && l.first == 6 && l.end == 13);
  log_locate(&log, 13, log.offset, &l);
  CHECK(l.kind == 1 && l.inode == inode && l.first == 13 && l.end == 30 && l.position == 0);
  CHECK(unlink(path) == 0 && unlink(second) == 0 && rmdir(directory) == 0);
}

static void test_index(void) {
  current = "index";
  struct log_index *index = calloc(1, sizeof *index);
  // 30 MiB for each file, with a hole of 10 bytes behind it: thinned and dropped, but never wrong.
  const unsigned files = INDEX_SEGMENTS + 36;
  uint64_t offset = 0, position = 0;
  for (unsigned file = 0; file < files; file++) {
    index_begin(index, offset, file, 1, position);
    for (int i = 0; i < 60; i++) {
      index_mark(index, offset, position);
      offset += INDEX_STEP / 2;
      position += INDEX_STEP;
      index_extend(index, offset, position);
    }
    CHECK(index->segment_count <= INDEX_SEGMENTS && index->position_count <= INDEX_POSITIONS);
    offset += 10;
  }
  uint64_t period = 30ull * INDEX_STEP + 10;
  unsigned found = 0, lost = 0;
  for (uint64_t at = 0; at < offset; at += 99991) {
    struct location l;
    index_locate(index, at, offset, &l);
    uint64_t file = at / period;
    if (l.kind == 1) {
      found++;
      CHECK(l.inode == file && l.first <= at && at < l.end && l.end == file * period + period - 10);
      // Position and offset were made to go together, two to one, apart from the holes.
      CHECK(l.position == 2 * (l.first - 10 * file));
    } else {
      lost++;
      CHECK(l.kind == 3 && l.first == at && l.end > at && l.end <= offset);
      CHECK(at % period >= period - 10 || file < files - INDEX_SEGMENTS);
    }
  }
  CHECK(found > 1000 && lost > 1000);
  index_forget(index, files - 1, 1);
  struct location l;
  index_locate(index, (files - 1) * period + 5, offset, &l);
  CHECK(l.kind == 3);
  index_locate(index, (files - 2) * period + 5, offset, &l);
  CHECK(l.kind == 1 && l.inode == files - 2);
  free(index);
  printf("index: %u found, %u lost\n", found, lost);
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  load(argv[1]);
  test_vectors();
  test_parser();
  test_config();
  test_ring();
  test_index();
  test_log();
  test_inode_used_again();
  free(text);
  return 0;
}
