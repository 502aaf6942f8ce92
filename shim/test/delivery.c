// Delivery under the sanitizers: random output, reads, acknowledgements, subscriptions and connections against the parts that hand a
// container's output on (stdio.c, ring.c, log.c, output.c, connection.c), with real pipes and sockets and without a container. Whatever
// happens: every byte comes in order and with its stream, or a GAP names it; never more than the window; in the end EXIT.
//
// `delivery` runs rounds for some seconds and says which; `delivery SEED` repeats one.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "shim.h"
#include "util.h"

#define BUDGET_MS 4000u
// On the slowest machine as well: what every run checks must have happened at least once in these.
#define LEAST_ROUNDS 24u
#define STEPS 6000
#define ROUND_BYTES (8u * 1024 * 1024)
#define PEER_BUFFER (1024u * 1024)
// Turns in which something must have come at the latest; a turn without is a few system calls.
#define MOST_TURNS 1000000
#define LATE_MS 20u
#define STALL_MS 200u

// As many as output.c gives at once, and then some.
#define MOST_PIECES 128

static struct shim shim;
static char directory[] = "/tmp/berth-shim-delivery-XXXXXX";

// --- the parts that are not here ---

void watch(struct shim *s, int fd, uint32_t events, uint32_t what) { (void)s, (void)fd, (void)events, (void)what; }
void unwatch(struct shim *s, int fd) { (void)s, (void)fd; }
int cgroup_signal(const char *path, int number) { return (void)path, (void)number, 0; }
void cgroup_thaw(const char *path) { (void)path; }
void exec_kill(struct shim *s) { (void)s; }
bool ending_told(const struct shim *s) { return s->phase == PHASE_ENDED; }

// In place of util.c's: the sanitizer sees what goes beyond a buffer.
void *__wrap_map_buffer(size_t bytes);
void *__wrap_map_buffer(size_t bytes) { return calloc(1, bytes); }

// A socket takes any part: most of a frame, a piece of its head.
static size_t part_of(size_t bytes) {
  if (bytes < 2 || chance(4) != 0) return bytes;
  return 1 + chance(chance(2) && bytes > 40 ? 40 : (uint32_t)bytes);
}

ssize_t __real_send(int fd, const void *data, size_t bytes, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t bytes, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t bytes, int flags) { return __real_send(fd, data, part_of(bytes), flags); }

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags) {
  struct iovec pieces[MOST_PIECES];
  size_t bytes = 0, count = message->msg_iovlen;
  CHECK(count <= MOST_PIECES);
  // Nobody sees what is not written down.
  CHECK(shim.log.buffered == 0);
  for (size_t i = 0; i < count; i++) bytes += message->msg_iov[i].iov_len;
  size_t left = part_of(bytes);
  for (size_t i = 0; i < count; i++) {
    pieces[i] = message->msg_iov[i];
    if (pieces[i].iov_len > left) pieces[i].iov_len = left;
    left -= pieces[i].iov_len;
  }
  struct msghdr part = {.msg_iov = pieces, .msg_iovlen = count};
  return __real_sendmsg(fd, &part, flags);
}

// --- the container ---

struct program {
  int fd;                 // where it writes
  uint64_t wrote, taken;  // bytes of this stream, by it and by the shim
};

static struct program programs[2];
// What the shim has read, by offset.
static uint8_t *content, *stream_at;

static uint8_t byte_of(unsigned stream, uint64_t number) {
  // Lines of a terminal, lines that the log leaves where they are, and lines that are cut.
  static const uint64_t lengths[] = {61, 4200, 17011};
  uint64_t length = lengths[number / 50000 % 3];
  return number % length == length - 1 ? '\n' : (uint8_t)('a' + ((number * 2654435761u >> 13) + stream) % 26);
}

static void make_program(struct source *source, uint8_t stream) {
  int ends[2];
  CHECK(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
  *source = (struct source){.fd = ends[0], .stream = stream};
  programs[stream - 1] = (struct program){.fd = ends[1]};
}

static void program_writes(unsigned stream, uint32_t bytes) {
  static uint8_t data[FRAME_MAX_DATA];
  struct program *p = &programs[stream - 1];
  for (uint32_t i = 0; i < bytes; i++) data[i] = byte_of(stream, p->wrote + i);
  ssize_t n = write(p->fd, data, bytes);
  CHECK(n > 0 || errno == EAGAIN);
  if (n > 0) p->wrote += (uint64_t)n;
}

static void shim_reads(struct source *source) {
  struct program *p = &programs[source->stream - 1];
  if (!source->armed || p->wrote == p->taken) return;
  uint64_t before = shim.ring.next;
  source_read(&shim, source);
  CHECK(!source->ended && shim.ring.next <= ROUND_BYTES + 4 * FRAME_MAX_DATA);
  for (uint64_t offset = before; offset < shim.ring.next; offset++) {
    content[offset] = byte_of(source->stream, p->taken++);
    stream_at[offset] = source->stream;
  }
}

// --- the daemon ---

struct daemon {
  int fd;
  uint8_t *bytes;
  size_t have;
  uint64_t from;      // where the subscription begins
  uint64_t expect;    // offset of the next byte
  bool subscribed;    // what comes is compared
  bool fence;         // what comes belongs to an older subscription until the answer `seq`
  uint32_t seq, window;
  uint64_t acked;
  uint64_t open;      // bytes that have come and are not acknowledged
  uint32_t newest;    // of these, bytes of the newest frame
  bool joined;        // since then: a gap that the shim made when the one before was not acknowledged to it
  bool ended;
};

static struct daemon peer = {.fd = -1};
static struct {
  uint64_t bytes, gaps, subscriptions, connections, held, stalls, losses, heads, stashes;
} seen;

static uint32_t get32(const uint8_t *p) {
  uint32_t value;
  memcpy(&value, p, sizeof value);
  return value;
}

static uint64_t get64(const uint8_t *p) {
  uint64_t value;
  memcpy(&value, p, sizeof value);
  return value;
}

static void on_output(uint8_t stream, uint64_t offset, const uint8_t *data, uint32_t bytes) {
  CHECK(offset == peer.expect && bytes > 0 && bytes <= FRAME_MAX_DATA && offset + bytes <= shim.ring.next);
  CHECK(memcmp(data, content + offset, bytes) == 0);
  for (uint32_t i = 0; i < bytes; i++) CHECK(stream_at[offset + i] == stream);
  peer.expect += bytes;
  peer.open += bytes;
  peer.newest = bytes;
  // What a container without a log leaves at its end comes beyond the window.
  bool left = shim.phase >= PHASE_ENDING && !shim.log.enabled;
  uint64_t window = peer.window + (left ? shim.ring.size + LEFT_IN_PIPES : 0);
  // With two gaps that are not acknowledged, the bytes between them do not count.
  CHECK(peer.open <= window || peer.joined);
  seen.bytes += bytes;
}

static void on_frame(uint8_t type, uint8_t flags, const uint8_t *payload, uint32_t bytes) {
  switch (type) {
    case EVENT_OUTPUT:
      if (peer.subscribed && !peer.fence) on_output(flags, get64(payload), payload + 8, bytes - 8);
      break;
    case EVENT_GAP:
      if (!peer.subscribed || peer.fence) break;
      CHECK(get64(payload) == peer.expect && get64(payload + 8) > peer.expect && get64(payload + 8) <= shim.ring.next);
      // Without a log nothing is given up that a subscriber has not taken.
      CHECK(shim.log.enabled || peer.expect == peer.from);
      peer.expect = get64(payload + 8);
      if (shim.conn.gap_from != get64(payload)) peer.joined = true;
      peer.newest = 0;
      seen.gaps++;
      break;
    case EVENT_LOG_LOSS:
      // A write that takes a part does not say why.
      CHECK(get64(payload) <= shim.log.bytes_lost && (get32(payload + 16) == EFBIG || get32(payload + 16) == ENOSPC));
      seen.losses++;
      break;
    case EVENT_REPLY:
      CHECK(get32(payload + 4) == 0);
      if (get32(payload) == peer.seq) peer.fence = false;
      break;
    case EVENT_EXIT:
      CHECK(!peer.subscribed || peer.fence || peer.expect == shim.ring.next);
      peer.ended = true;
      break;
    default: CHECK(type == EVENT_WELCOME);
  }
}

static void peer_leaves(void) {
  close(peer.fd);
  peer.fd = -1;
}

// True when there was something.
static bool peer_reads(size_t most) {
  if (most > PEER_BUFFER - peer.have) most = PEER_BUFFER - peer.have;
  ssize_t n = read(peer.fd, peer.bytes + peer.have, most);
  CHECK(n >= 0 || errno == EAGAIN || errno == ECONNRESET);
  if (n <= 0) return false;
  peer.have += (size_t)n;
  size_t at = 0;
  while (peer.have - at >= FRAME_HEADER) {
    const uint8_t *head = peer.bytes + at;
    uint32_t bytes = get32(head);
    CHECK(bytes <= FRAME_MAX_PAYLOAD);
    if (peer.have - at < FRAME_HEADER + bytes) break;
    on_frame(head[4], head[5], head + FRAME_HEADER, bytes);
    at += FRAME_HEADER + bytes;
  }
  memmove(peer.bytes, peer.bytes + at, peer.have - at);
  peer.have -= at;
  return true;
}

static void peer_comes(void) {
  int ends[2], size = (int)(2048u << chance(8));
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
  setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  if (peer.fd >= 0) peer_leaves();
  peer = (struct daemon){.fd = ends[1], .bytes = peer.bytes, .seq = peer.seq};
  connection_open(&shim, ends[0]);
  seen.connections++;
}

static uint8_t *put_frame(uint8_t *out, uint8_t type, const void *payload, uint32_t bytes) {
  memset(out, 0, FRAME_HEADER);
  memcpy(out, &bytes, sizeof bytes);
  out[4] = type;
  if (bytes > 0) memcpy(out + FRAME_HEADER, payload, bytes);
  return out + FRAME_HEADER + bytes;
}

static void peer_sends(const uint8_t *frames, const uint8_t *end) {
  // Requests are read while there is room for answers, and are few here: they fit.
  CHECK(write(peer.fd, frames, (size_t)(end - frames)) == end - frames);
  connection_input(&shim);
}

static void peer_asks(uint8_t type, const void *payload, uint32_t bytes) {
  uint8_t frame[64];
  peer_sends(frame, put_frame(frame, type, payload, bytes));
}

// --- turns of the loop ---

static void turn(void) {
  bool stashed = shim.conn.stash != NULL && shim.conn.part == shim.conn.stash;
  if (shim.conn.part_head_left > 0) seen.heads++;
  output_late(&shim);
  output_flush(&shim);
  sources_update(&shim);
  if (shim.held) seen.held++;
  if (!stashed && shim.conn.stash != NULL && shim.conn.part_left > 0 && shim.conn.part == shim.conn.stash) seen.stashes++;
  if (peer.fd < 0 || shim.conn.fd >= 0) return;
  // Only one that takes nothing is ever left, and only where there is no log to send it to.
  CHECK(!shim.log.enabled && !peer.ended);
  while (peer_reads(PEER_BUFFER)) continue;
  peer_leaves();
  seen.stalls++;
}

// Subscribes at an offset. What an older subscription has left is told from the new one's output by an answer before it.
static void subscribe(uint64_t from, uint32_t window) {
  int unread = 0;
  uint8_t frames[128], *end = frames, request[12];
  uint32_t seq = ++peer.seq;
  memcpy(request, &from, 8);
  memcpy(request + 8, &window, 4);
  peer.fence = true;
  // In one piece, the new subscription takes the old one's place at once; else it is ended before.
  bool together = shim.conn.control_bytes == 0 && ioctl(shim.conn.fd, FIONREAD, &unread) == 0 && unread == 0 && chance(2);
  if (!together) end = put_frame(end, REQUEST_UNSUBSCRIBE, NULL, 0);
  end = put_frame(end, REQUEST_FLUSH, &seq, 4);
  if (together) end = put_frame(end, REQUEST_SUBSCRIBE, request, sizeof request);
  peer.subscribed = true;
  peer.window = window;
  peer.from = peer.expect = peer.acked = from == OFFSET_NEXT ? shim.ring.next : from;
  peer.open = peer.newest = 0;
  peer.joined = false;
  peer_sends(frames, end);
  for (int i = 0; peer.fence; i++) {
    CHECK(i < MOST_TURNS && shim.conn.fd >= 0);
    peer_reads(PEER_BUFFER);
    connection_input(&shim);
    output_flush(&shim);
  }
  if (!together) peer_asks(REQUEST_SUBSCRIBE, request, sizeof request);
  seen.subscriptions++;
}

static void subscribe_somewhere(void) {
  uint64_t back = chance(4 * shim.ring.size);
  uint64_t from = chance(3) == 0 ? OFFSET_NEXT : shim.ring.next - (back < shim.ring.next ? back : shim.ring.next);
  subscribe(from, chance(3) == 0 ? UINT32_MAX : 1024u << chance(12));
}

static void acknowledge(uint32_t less) {
  uint64_t offset = peer.expect - less;
  if (offset > peer.acked) {
    peer.acked = offset;
    peer.open = less;
    if (less == 0) peer.joined = false;
  }
  peer_asks(REQUEST_ACK, &offset, 8);
}

static void step(void) {
  uint32_t what = chance(200);
  shim.now += chance(3);
  if (what < 60) {
    uint32_t bytes = 1 + chance(chance(3) == 0 ? FRAME_MAX_DATA : 200);
    // Several at once, so that a read leaves something for the next one.
    unsigned stream = 1 + chance(2);
    for (unsigned times = chance(4) == 0 ? 6 : 1; times > 0; times--) {
      if (programs[0].wrote + programs[1].wrote + bytes <= ROUND_BYTES) program_writes(stream, bytes);
    }
  } else if (what < 110) {
    shim_reads(chance(2) ? &shim.out : &shim.err);
  } else if (peer.fd < 0) {
    if (chance(4) == 0) peer_comes();
  } else if (what < 160) {
    peer_reads(1 + chance(chance(2) ? 300 : 100000));
  } else if (what < 180) {
    if (peer.subscribed) acknowledge(chance(4) == 0 && peer.newest > 0 ? chance(peer.newest) : 0);
  } else if (what < 185 || !peer.subscribed) {
    if (!peer.subscribed || chance(10) == 0) subscribe_somewhere();
  } else if (what == 185) {
    if (chance(5) == 0) peer_comes();
    sources_rest(&shim);
  } else if (what == 186) {
    // A daemon that is stopped for a while: with a log it falls behind, without one it is left.
    shim.now += chance(2) ? LATE_MS : STALL_MS;
  }
  turn();
}

// Whoever takes what comes gets everything to the end.
static void finish(void) {
  if (peer.fd < 0) peer_comes();
  subscribe(0, 4096u << chance(10));
  for (int i = 0; !peer.ended; i++) {
    CHECK(i < MOST_TURNS && peer.fd >= 0);
    shim.now++;
    shim_reads(&shim.out);
    shim_reads(&shim.err);
    if (programs[0].wrote + programs[1].wrote == shim.ring.next) shim.phase = PHASE_ENDED;
    peer_reads(PEER_BUFFER);
    // A gap alone is not acknowledged: it must not count.
    if (peer.open > 0) acknowledge(0);
    turn();
  }
  CHECK(peer.expect == programs[0].wrote + programs[1].wrote && peer.expect == shim.ring.next);
  CHECK(!shim.log.enabled || shim.log.offset + shim.log.pending == shim.ring.next);
}

// A log that has lost nothing is all that was read, in its order.
static void check_log(const char *path) {
  static char line[LOG_HEAD + LOG_MAX_CONTENT + 2];
  log_flush_partial(&shim.log);
  FILE *file = fopen(path, "re");
  CHECK(file != NULL);
  uint64_t at = 0;
  while (fgets(line, sizeof line, file) != NULL) {
    size_t length = strlen(line);
    CHECK(length > LOG_HEAD && line[length - 1] == '\n');
    uint8_t stream = memcmp(line + 31, "stdout", 6) == 0 ? 1 : 2;
    size_t bytes = length - 1 - LOG_HEAD;
    CHECK(at + bytes <= shim.ring.next && memcmp(line + LOG_HEAD, content + at, bytes) == 0);
    for (size_t i = 0; i < bytes; i++) CHECK(stream_at[at + i] == stream);
    at += bytes;
    if (line[LOG_HEAD - 2] != 'F') continue;
    CHECK(content[at] == '\n' && stream_at[at] == stream);
    at++;
  }
  CHECK(at == shim.ring.next && shim.log.offset == at);
  fclose(file);
}

static void set_file_limit(rlim_t most) {
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
  limit.rlim_cur = most < limit.rlim_max ? most : limit.rlim_max;
  CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

static void run_round(uint64_t number) {
  static char name[32];
  snprintf(name, sizeof name, "seed %" PRIu64, number);
  current = name;
  seed = number * 0x9e3779b97f4a7c15u | 1;
  for (int i = 0; i < 8; i++) chance(2);
  memset(&shim, 0, sizeof shim);
  shim.conn.fd = shim.in.fd = shim.init_pidfd = -1;
  shim.config.late_ms = LATE_MS;
  shim.config.stall_ms = STALL_MS;
  shim.phase = PHASE_RUNNING;
  shim.now = 1000;
  bool log = number % 3 != 0;
  CHECK(ring_init(&shim.ring, 65536u << chance(3)));
  CHECK(log_init(&shim.log, log ? directory : NULL, log ? "log" : NULL, 100) == 0);
  // A log that is full at some time, as on a disk without room.
  if (log && number % 2 == 0) set_file_limit(1 + chance(ROUND_BYTES));
  make_program(&shim.out, 1);
  make_program(&shim.err, 2);
  stdio_begin(&shim);
  for (int i = 0; i < STEPS; i++) step();
  finish();
  set_file_limit(RLIM_INFINITY);
  char path[64];
  snprintf(path, sizeof path, "%s/log", directory);
  if (log && shim.log.losses == 0) check_log(path);
  peer_leaves();
  connection_close(&shim);
  stdio_close(&shim);
  for (int i = 0; i < 2; i++) close(programs[i].fd);
  if (log) {
    close(shim.log.fd);
    CHECK(unlink(path) == 0);
  }
  void *const buffers[] = {shim.ring.buffer,  shim.log.buffer, shim.log.partial, shim.log.index,
                           shim.conn.control, shim.conn.stash, shim.input};
  for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) free(buffers[i]);
}

int main(int argc, char **argv) {
  CHECK(mkdtemp(directory) != NULL);
  signal(SIGXFSZ, SIG_IGN);
  content = malloc(ROUND_BYTES + 4 * FRAME_MAX_DATA);
  stream_at = malloc(ROUND_BYTES + 4 * FRAME_MAX_DATA);
  peer.bytes = malloc(PEER_BUFFER);
  uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : wall_ns() / 1000000, rounds = 0, begun = mono_ms();
  do run_round(first + rounds++);
  while (argc == 1 && (rounds < LEAST_ROUNDS || mono_ms() - begun < BUDGET_MS));
  CHECK(rmdir(directory) == 0);
  if (argc == 1) {
    current = "what has happened";
    CHECK(seen.bytes > 0 && seen.gaps > 0 && seen.subscriptions > 0 && seen.connections > 0 && seen.held > 0);
    CHECK(seen.stalls > 0 && seen.losses > 0 && seen.heads > 0 && seen.stashes > 0);
  }
  printf("delivery: seeds %" PRIu64 " to %" PRIu64 ": %" PRIu64 " bytes, %" PRIu64 " gaps, %" PRIu64 " subscriptions, %" PRIu64
         " stalls, %" PRIu64 " cut heads, %" PRIu64
         " stashed\n",
         first, first + rounds - 1, seen.bytes, seen.gaps, seen.subscriptions, seen.stalls, seen.heads, seen.stashes);
  return 0;
}
