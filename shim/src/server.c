// The socket: who may connect, and the HELLO that makes a connection the daemon's, or the EXEC that makes it a program's.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "shim.h"
#include "util.h"

// The daemon's socket: event-loop jitter of some milliseconds must not make a fast container wait.
#define SEND_BUFFER (1024 * 1024)
// Connections that wait in the kernel while MAX_WAITING others say what they want: many programs are started at once.
#define BACKLOG 512
#define HELLO_BYTES (FRAME_HEADER + FRAME_MAX_REQUEST)

int server_listen(struct shim *shim) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int length = snprintf(address.sun_path, sizeof address.sun_path, "%s/shim.sock", shim->config.state);
  if (length < 0 || (size_t)length >= sizeof address.sun_path) return ENAMETOOLONG;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  unlink(address.sun_path);
  mode_t mask = umask(0177);
  int error = bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, BACKLOG) < 0 ? errno : 0;
  umask(mask);
  if (error != 0) {
    close(fd);
    return error;
  }
  // Watched once init runs (start_check): before, nothing can be said of it, and who comes waits in the kernel.
  shim->listener = fd;
  for (int i = 0; i < MAX_WAITING; i++) shim->waiting[i].fd = -1;
  return 0;
}

// The place is free again: whoever waits in the kernel may come.
static int leave_place(struct shim *shim, struct waiting *waiting) {
  int fd = waiting->fd;
  unwatch(shim, fd);
  waiting->fd = -1;
  if (shim->crowded) watch(shim, shim->listener, EPOLLIN, WATCH_LISTENER);
  shim->crowded = false;
  return fd;
}

static void drop(struct shim *shim, struct waiting *waiting) { close(leave_place(shim, waiting)); }

static bool is_root(int fd) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == 0;
}

void server_accept(struct shim *shim) {
  for (unsigned i = 0; i < MAX_WAITING; i++) {
    struct waiting *waiting = &shim->waiting[i];
    if (waiting->fd >= 0) continue;
    int fd = accept4(shim->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    if (!is_root(fd)) {
      close(fd);
      return;
    }
    int size = SEND_BUFFER;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    waiting->fd = fd;
    waiting->have = 0;
    waiting->deadline = shim->now + HELLO_MS;
    watch(shim, fd, EPOLLIN, WATCH_WAITING + i);
    return;
  }
  unwatch(shim, shim->listener);
  shim->crowded = true;
}

struct hello {
  const struct shim *shim;
  bool good, exec;
};

static bool on_hello(void *context, const struct request *request) {
  struct hello *hello = context;
  const uint8_t *secret = hello->shim->config.secret;
  hello->exec = request->type == REQUEST_EXEC;
  hello->good = (request->type == REQUEST_HELLO || hello->exec) && request->version == FRAME_VERSION &&
                equal_secret(request->secret, secret, sizeof request->secret);
  return hello->good;
}

static bool no_stdin(void *context, const uint8_t *data, size_t bytes) {
  (void)context, (void)data, (void)bytes;
  return false;
}

void server_hello(struct shim *shim, unsigned index) {
  static const struct frame_sink SINK = {on_hello, no_stdin};
  struct waiting *waiting = &shim->waiting[index];
  if (waiting->fd < 0) return;
  ssize_t n = recv(waiting->fd, waiting->bytes + waiting->have, HELLO_BYTES - waiting->have, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return drop(shim, waiting);
  waiting->have += (uint32_t)n;
  // What cannot become a HELLO is refused at once, without waiting for the rest.
  if (waiting->have > 4 && waiting->bytes[4] != REQUEST_HELLO && waiting->bytes[4] != REQUEST_EXEC) return drop(shim, waiting);
  struct frame_parser parser = {.have = 0};
  struct hello hello = {shim, false, false};
  size_t used;
  if (frame_parse(&parser, waiting->bytes, waiting->have, &SINK, &hello, &used) != FRAME_OK) return drop(shim, waiting);
  if (!hello.good) return;
  int fd = leave_place(shim, waiting);
  if (hello.exec) return exec_begin(shim, fd);
  connection_open(shim, fd);
  output_flush(shim);
}

void server_expire(struct shim *shim) {
  for (int i = 0; i < MAX_WAITING; i++) {
    if (shim->waiting[i].fd >= 0 && shim->now >= shim->waiting[i].deadline) drop(shim, &shim->waiting[i]);
  }
}
