// Small helpers that every part of the shim uses: time, memory, files, numbers, complaints.
#define _GNU_SOURCE
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

uint64_t wall_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t mono_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

void *map_pages(size_t bytes) {
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return NULL;
  // One touched byte must not cost 2 MiB.
  madvise(p, bytes, MADV_NOHUGEPAGE);
  return p;
}

void *map_buffer(size_t bytes) {
  void *p = map_pages(bytes);
  if (p != NULL) madvise(p, bytes, MADV_DONTFORK);
  return p;
}

void drop_pages(void *p, size_t bytes) {
  if (p != NULL) madvise(p, bytes, MADV_DONTNEED);
}

int write_all(int fd, const void *data, size_t bytes) {
  const char *p = data;
  while (bytes > 0) {
    ssize_t n = write(fd, p, bytes);
    if (n < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    p += n;
    bytes -= (size_t)n;
  }
  return 0;
}

int write_text(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  int error = write_all(fd, text, strlen(text));
  close(fd);
  return error;
}

ssize_t read_text(const char *path, char *buffer, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  size_t have = 0;
  while (have < size - 1) {
    ssize_t n = read(fd, buffer + have, size - 1 - have);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    have += (size_t)n;
  }
  close(fd);
  buffer[have] = 0;
  return (ssize_t)have;
}

bool parse_number(const char *text, uint64_t max, uint64_t *out) {
  uint64_t value = 0;
  if (*text == 0) return false;
  for (; *text != 0; text++) {
    if (*text < '0' || *text > '9') return false;
    uint64_t digit = (uint64_t)(*text - '0');
    if (value > (UINT64_MAX - digit) / 10) return false;
    value = value * 10 + digit;
  }
  if (value > max) return false;
  *out = value;
  return true;
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool parse_secret(const char *text, uint8_t out[32]) {
  if (strlen(text) != 64) return false;
  for (int i = 0; i < 32; i++) {
    int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = (uint8_t)(high << 4 | low);
  }
  return true;
}

bool equal_secret(const uint8_t *a, const uint8_t *b, size_t bytes) {
  volatile uint8_t difference = 0;
  for (size_t i = 0; i < bytes; i++) difference |= a[i] ^ b[i];
  return difference == 0;
}

int make_dirs(const char *path, mode_t mode, bool parents_only) {
  char copy[PATH_MAX];
  size_t length = strlen(path);
  if (length >= sizeof copy || path[0] != '/') return EINVAL;
  memcpy(copy, path, length + 1);
  for (char *p = copy + 1; *p != 0; p++) {
    if (*p != '/') continue;
    *p = 0;
    if (mkdir(copy, mode) < 0 && errno != EEXIST) return errno;
    *p = '/';
  }
  if (!parents_only && mkdir(copy, mode) < 0 && errno != EEXIST) return errno;
  return 0;
}

static void close_range_from(unsigned first, unsigned last) {
  if (first > last) return;
  if (syscall(SYS_close_range, first, last, 0) == 0) return;
  // Linux before 5.9.
  unsigned end = last < 65536u ? last : 65536u;
  for (unsigned fd = first; fd <= end; fd++) close((int)fd);
}

void close_fds_from(unsigned first) { close_range_from(first, ~0u); }

void close_everything_but(int keep) {
  int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd <= 2; fd++) {
    if (fd != keep && null >= 0 && null != fd) dup2(null, fd);
  }
  if (keep > 2) {
    close_range_from(3, (unsigned)keep - 1);
    close_range_from((unsigned)keep + 1, ~0u);
  } else {
    close_range_from(3, ~0u);
  }
}

void set_nonblocking(int fd) {
  int flags = fcntl(fd, F_GETFL);
  if (flags >= 0) fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

void reset_signals(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; signal++) {
    if (signal != SIGKILL && signal != SIGSTOP) sigaction(signal, &action, NULL);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

int complain(const char *what, int error) {
  dprintf(2, "berth-shim: %s: %s\n", what, strerror(error));
  return 1;
}
