/*
 * What runs inside the benchmark's containers, and checks their logs outside: a producer and a sink that are faster than any
 * runtime between them and the client. Static, so that it runs in any image.
 *
 *   agent serve CTL REP               reads commands, one a line, from the FIFO CTL; reports each on the FIFO REP
 *   agent pause                       does nothing until SIGTERM: the first process of a pod, where a runtime wants one
 *   agent logcheck FILE FROM KIND     decodes the CRI log FILE from byte FROM on, compares it with what KIND writes, prints the count
 *
 * Commands of serve:
 *   blocks N        writes N bytes in writes of 64 KiB, one newline at the end of each
 *   lines N         writes N bytes of 80-byte lines, 819 lines to a write
 *   sink N          reads N bytes from standard input
 *   listen 0        from now on serves TCP on 127.0.0.1; its report has the port in the place of the bytes. A connection begins with a
 *                   letter and 8 bytes of little-endian count: "e" echoes, "s" sends that many bytes, "k" takes them and sends one
 *   chat MS BYTES   from now on writes a line of BYTES every MS milliseconds and echoes what comes in; "quiet" ends it
 * A report is "<command> <bytes> <start> <end>", times in nanoseconds since 1970.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 65536, LINE = 80, LINES = BLOCK / LINE };

static char pattern[BLOCK];
static size_t pattern_size;

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what) {
  perror(what);
  _exit(1);
}

/* Letters that do not repeat within a block, so that a shifted or lost piece of a log shows. */
static void make_pattern(int lines) {
  unsigned state = 2463534242u;
  pattern_size = lines ? (size_t)LINES * LINE : BLOCK;
  for (size_t i = 0; i < pattern_size; i++) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    int last = lines ? i % LINE == LINE - 1 : i == pattern_size - 1;
    pattern[i] = last ? '\n' : (char)('a' + state % 26);
  }
}

static void write_all(int fd, const char *data, size_t size) {
  while (size > 0) {
    ssize_t n = write(fd, data, size);
    if (n < 0 && errno != EINTR) die("write");
    if (n > 0) data += n, size -= (size_t)n;
  }
}

static void produce(long long bytes) {
  while (bytes > 0) {
    size_t size = bytes < (long long)pattern_size ? (size_t)bytes : pattern_size;
    write_all(1, pattern, size);
    bytes -= (long long)size;
  }
}

static long long sink(long long bytes) {
  static char buffer[1 << 20];
  long long got = 0;
  while (got < bytes) {
    long long left = bytes - got;
    ssize_t n = read(0, buffer, left < (long long)sizeof buffer ? (size_t)left : sizeof buffer);
    if (n == 0) break;
    if (n < 0 && errno != EINTR) die("read");
    if (n > 0) got += n;
  }
  return got;
}

static void chat(int ctl, int period, size_t size) {
  char buffer[4096];
  struct pollfd fds[2] = {{.fd = ctl, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
  long long next = now();
  make_pattern(0);
  for (;;) {
    long long wait = (next - now()) / 1000000;
    int ready = poll(fds, 2, wait > 0 ? (int)wait : 0);
    if (ready < 0 && errno != EINTR) die("poll");
    if (ready > 0 && fds[0].revents) return;
    if (ready > 0 && fds[1].revents) {
      ssize_t n = read(0, buffer, sizeof buffer);
      if (n > 0) write_all(1, buffer, (size_t)n);
      if (n == 0) fds[1].fd = -1;
    }
    if (now() >= next) {
      memcpy(buffer, pattern, size - 1);
      buffer[size - 1] = '\n';
      write_all(1, buffer, size);
      next += period * 1000000LL;
    }
  }
}

static void converse(int fd) {
  static char buffer[1 << 20];
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  char head[9];
  for (size_t have = 0; have < sizeof head;) {
    ssize_t n = read(fd, head + have, sizeof head - have);
    if (n <= 0) return;
    have += (size_t)n;
  }
  long long count;
  memcpy(&count, head + 1, sizeof count);
  make_pattern(0);
  for (; *head == 's' && count > 0; count -= (long long)pattern_size) {
    write_all(fd, pattern, count < (long long)pattern_size ? (size_t)count : pattern_size);
  }
  while (*head == 'e' || (*head == 'k' && count > 0)) {
    ssize_t n = read(fd, buffer, sizeof buffer);
    if (n <= 0) return;
    if (*head == 'e') write_all(fd, buffer, (size_t)n);
    count -= n;
  }
  if (*head == 'k') write_all(fd, "k", 1);
}

/* Gives the port; a process for every connection. */
static int listen_tcp(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof address;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, 1024) < 0) die("listen");
  if (getsockname(fd, (struct sockaddr *)&address, &size) < 0) die("getsockname");
  if (fork() == 0) {
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
      int connection = accept(fd, NULL, NULL);
      if (connection >= 0 && fork() == 0) {
        converse(connection);
        _exit(0);
      }
      if (connection >= 0) close(connection);
    }
  }
  close(fd);
  return ntohs(address.sin_port);
}

static void serve(const char *ctl_path, const char *rep_path) {
  /* Both ends are kept open here, so that a client that goes away is no end of file and no SIGPIPE. */
  int ctl = open(ctl_path, O_RDWR), rep = open(rep_path, O_RDWR);
  if (ctl < 0 || rep < 0) die("open");
  char line[256], word[32];
  size_t have = 0;
  for (;;) {
    ssize_t n = read(ctl, line + have, 1);
    if (n < 0 && errno != EINTR) die("read");
    if (n <= 0 || line[have] != '\n') {
      if (n > 0 && ++have == sizeof line - 1) die("a command that long");
      continue;
    }
    line[have] = 0;
    have = 0;
    long long a = 0, b = 0;
    if (sscanf(line, "%31s %lld %lld", word, &a, &b) < 1) continue;
    long long start = now(), bytes = a;
    if (!strcmp(word, "blocks") || !strcmp(word, "lines")) make_pattern(*word == 'l'), start = now(), produce(a);
    else if (!strcmp(word, "sink")) bytes = sink(a);
    else if (!strcmp(word, "listen")) bytes = listen_tcp();
    else if (!strcmp(word, "chat")) chat(ctl, (int)a, b < 2 ? 2 : b > 4096 ? 4096 : (size_t)b);
    else if (strcmp(word, "quiet")) continue;
    int size = snprintf(line, sizeof line, "%s %lld %lld %lld\n", word, bytes, start, now());
    write_all(rep, line, (size_t)size);
  }
}

/* Content of a record begins behind the third blank; F stands for a newline that the record's own newline replaces. */
static void logcheck(const char *path, const char *from) {
  FILE *file = fopen(path, "r");
  if (!file || fseeko(file, atoll(from), SEEK_SET) < 0) die(path);
  char *line = NULL;
  size_t room = 0;
  ssize_t length;
  long long count = 0, bad = 0;
  size_t at = 0;
  while ((length = getline(&line, &room, file)) > 0) {
    char *tag = NULL, *end = line + length;
    char *blank = memchr(line, ' ', (size_t)length);
    if (blank) blank = memchr(blank + 1, ' ', (size_t)(end - blank - 1));
    if (blank && blank + 3 <= end && blank[2] == ' ' && end[-1] == '\n') tag = blank + 1;
    if (!tag) {
      printf("%lld bytes, then a record that is none\n", count);
      exit(1);
    }
    char *content = tag + 2;
    if (*tag == 'P') end--;
    for (size_t left = (size_t)(end - content); left > 0;) {
      size_t size = left < pattern_size - at ? left : pattern_size - at;
      bad += memcmp(content, pattern + at, size) != 0;
      content += size, left -= size, count += (long long)size, at = (at + size) % pattern_size;
    }
  }
  if (bad > 0) {
    printf("%lld bytes, %lld pieces of them wrong\n", count, bad);
    exit(1);
  }
  printf("%lld\n", count);
}

static void leave(int signal) {
  (void)signal;
  _exit(0);
}

int main(int argc, char **argv) {
  /* As pid 1, nothing ends this process by default. */
  signal(SIGTERM, leave);
  signal(SIGINT, leave);
  if (argc == 4 && !strcmp(argv[1], "serve")) {
    serve(argv[2], argv[3]);
  } else if (argc == 2 && !strcmp(argv[1], "pause")) {
    for (;;) {
      while (waitpid(-1, NULL, WNOHANG) > 0) continue;
      pause();
    }
  } else if (argc == 5 && !strcmp(argv[1], "logcheck")) {
    make_pattern(!strcmp(argv[4], "lines"));
    logcheck(argv[2], argv[3]);
    return 0;
  }
  fprintf(stderr, "agent: see the head of agent.c\n");
  return 2;
}
