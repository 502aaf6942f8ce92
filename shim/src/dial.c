// `berth-shim dial`: connects to ports in a pod's network namespace and hands the connections over to the daemon as descriptors.
// It never reads a byte of what comes from the pod, and has no privilege left once it is in the namespace.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "capabilities.h"
#include "descriptors.h"
#include "shim.h"
#include "util.h"

// Where the daemon puts its ends: requests come on stdin, answers go where a Node parent has its child's channel.
#define REQUESTS 0
#define CHANNEL 3
#define REQUEST_BYTES 8u
#define REQUESTS_AT_ONCE 64u
#define EVENTS_AT_ONCE 16
// Dials without an answer; the daemon keeps to it, so one more is a fault of its.
#define MAX_DIALS 256u
#define WATCH_REQUESTS MAX_DIALS
#define WATCH_CHANNEL (MAX_DIALS + 1)

enum request_kind { DIAL = 1, CANCEL = 2 };

struct dial {
  bool used, done;  // done: the answer is known and waits for the channel
  uint32_t id;
  int fd, error;
};

struct dialer {
  int epoll;
  bool channel_full;
  unsigned answers;  // that wait
  size_t have;
  uint8_t requests[REQUEST_BYTES * REQUESTS_AT_ONCE];
  struct dial dials[MAX_DIALS];
};

static int enter(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return complain(path, errno);
  int error = setns(fd, CLONE_NEWNET) < 0 ? errno : 0;
  close(fd);
  return error == 0 ? 0 : complain(path, error);
}

static int give_up_privileges(void) {
  // What could not be taken out of the set gives nothing any more once nothing is permitted and no_new_privs is set.
  (void)drop_bounding(0);
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (!set_capabilities(0, 0)) return complain("capset", errno);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return complain("no_new_privs", errno);
  return 0;
}

static void watch_fd(struct dialer *dialer, int operation, int fd, uint32_t events, uint32_t what) {
  struct epoll_event event = {.events = events, .data = {.u32 = what}};
  epoll_ctl(dialer->epoll, operation, fd, &event);
}

static void answer_later(struct dialer *dialer, struct dial *dial, int error) {
  if (error != 0 && dial->fd >= 0) {
    close(dial->fd);
    dial->fd = -1;
  }
  dial->error = error;
  dial->done = true;
  dialer->answers++;
}

static void forget(struct dialer *dialer, struct dial *dial) {
  if (dial->done) dialer->answers--;
  // Closing takes it out of the epoll set: what the daemon has as well has been taken out before.
  if (dial->fd >= 0) close(dial->fd);
  dial->used = false;
}

// A program that this connection has reached has not got what was meant for it: an end in order would look like all of it.
static void cancel(struct dialer *dialer, struct dial *dial) {
  struct linger none = {.l_onoff = 1};
  setsockopt(dial->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
  forget(dialer, dial);
}

static int loopback(int family, uint16_t port, int fd) {
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  int result = family == 4 ? connect(fd, (struct sockaddr *)&four, sizeof four) : connect(fd, (struct sockaddr *)&six, sizeof six);
  return result < 0 ? errno : 0;
}

static bool dial_begin(struct dialer *dialer, uint32_t id, uint16_t port, int family) {
  struct dial *dial = NULL;
  uint32_t index = 0;
  for (uint32_t i = 0; i < MAX_DIALS; i++) {
    if (dialer->dials[i].used && dialer->dials[i].id == id) return false;
    if (dial == NULL && !dialer->dials[i].used) {
      dial = &dialer->dials[i];
      index = i;
    }
  }
  if (dial == NULL) return false;
  int fd = socket(family == 4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  *dial = (struct dial){.used = true, .id = id, .fd = fd};
  int error = fd < 0 ? errno : loopback(family, port, fd);
  if (error == EINPROGRESS) watch_fd(dialer, EPOLL_CTL_ADD, fd, EPOLLOUT, index);
  else answer_later(dialer, dial, error);
  return true;
}

static void dial_connected(struct dialer *dialer, struct dial *dial) {
  if (!dial->used || dial->done) return;
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(dial->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) error = errno;
  struct sockaddr_in6 peer;
  size = sizeof peer;
  // An event of the socket that had this place before says nothing about this one.
  if (error == 0 && getpeername(dial->fd, (struct sockaddr *)&peer, &size) < 0 && errno == ENOTCONN) return;
  // The daemon gets the same open socket: it must not stay in our epoll set behind the descriptor that is closed here.
  watch_fd(dialer, EPOLL_CTL_DEL, dial->fd, 0, 0);
  answer_later(dialer, dial, error);
}

// u32 id, u16 port, u8 family (4, 6), u8 kind; little-endian. False: it is none.
static bool take_request(struct dialer *dialer, const uint8_t *bytes) {
  uint32_t id = (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
  uint16_t port = (uint16_t)(bytes[4] | bytes[5] << 8);
  int family = bytes[6];
  if (bytes[7] == DIAL) return port != 0 && (family == 4 || family == 6) && dial_begin(dialer, id, port, family);
  if (bytes[7] != CANCEL || port != 0 || family != 0) return false;
  for (uint32_t i = 0; i < MAX_DIALS; i++) {
    if (dialer->dials[i].used && dialer->dials[i].id == id) cancel(dialer, &dialer->dials[i]);
  }
  return true;
}

// False: the daemon is gone, or is none.
static bool requests_read(struct dialer *dialer) {
  ssize_t n = read(REQUESTS, dialer->requests + dialer->have, sizeof dialer->requests - dialer->have);
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  if (n == 0) return false;
  dialer->have += (size_t)n;
  size_t at = 0;
  for (; at + REQUEST_BYTES <= dialer->have; at += REQUEST_BYTES) {
    if (!take_request(dialer, dialer->requests + at)) {
      dprintf(2, "berth-shim: not a request\n");
      return false;
    }
  }
  dialer->have -= at;
  memmove(dialer->requests, dialer->requests + at, dialer->have);
  return true;
}

// Node confirms every descriptor; there is nothing to learn from it.
static bool channel_read(void) {
  char ignored[512];
  ssize_t n = recv(CHANNEL, ignored, sizeof ignored, MSG_DONTWAIT);
  return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

// One line of JSON, as Node's channels to child processes speak it; with a connection, its descriptor goes along. 0 or an errno.
static int answer(const struct dial *dial) {
  char text[96];
  int length = dial->error != 0
                   ? snprintf(text, sizeof text, "{\"id\":%u,\"errno\":%d}\n", dial->id, dial->error)
                   : snprintf(text, sizeof text, "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Socket\",\"msg\":{\"id\":%u}}\n", dial->id);
  ssize_t n = send_descriptors(CHANNEL, text, (size_t)length, &dial->fd, dial->error == 0 ? 1 : 0, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n < 0) return errno;
  // So short a message is taken as a whole or not at all.
  return n == length ? 0 : EPIPE;
}

// False: the daemon is gone.
static bool answers_send(struct dialer *dialer) {
  bool full = false;
  for (uint32_t i = 0; i < MAX_DIALS && dialer->answers > 0 && !full; i++) {
    struct dial *dial = &dialer->dials[i];
    if (!dial->used || !dial->done) continue;
    int error = answer(dial);
    // More descriptors are on their way to readers of this machine than one user may have.
    if (error == ETOOMANYREFS) {
      close(dial->fd);
      dial->fd = -1;
      dial->error = error;
      error = answer(dial);
    }
    if (error == EAGAIN || error == EINTR) full = true;
    else if (error != 0) return false;
    else forget(dialer, dial);
  }
  if (full != dialer->channel_full) {
    dialer->channel_full = full;
    watch_fd(dialer, EPOLL_CTL_MOD, CHANNEL, EPOLLIN | (full ? (uint32_t)EPOLLOUT : 0u), WATCH_CHANNEL);
  }
  return true;
}

static void serve(struct dialer *dialer) {
  struct epoll_event events[EVENTS_AT_ONCE];
  for (;;) {
    int count = epoll_wait(dialer->epoll, events, EVENTS_AT_ONCE, -1);
    if (count < 0 && errno != EINTR) return;
    for (int i = 0; i < count; i++) {
      uint32_t what = events[i].data.u32;
      if (what == WATCH_REQUESTS) {
        if (!requests_read(dialer)) return;
      } else if (what == WATCH_CHANNEL) {
        if ((events[i].events & ~(uint32_t)EPOLLOUT) != 0 && !channel_read()) return;
      } else {
        dial_connected(dialer, &dialer->dials[what]);
      }
    }
    if (dialer->answers > 0 && !answers_send(dialer)) return;
  }
}

int dial_main(int argc, char **argv) {
  static struct dialer dialer;
  if (argc != 2 || strcmp(argv[0], "--netns") != 0) {
    dprintf(2, "usage: berth-shim dial --netns PATH\n");
    return 64;
  }
  // What the daemon was started with and has handed down unknowingly; an old kernel leaves it open.
  syscall(SYS_close_range, CHANNEL + 1, ~0u, 0);
  if (enter(argv[1]) != 0 || give_up_privileges() != 0) return 1;
  if (chdir("/") < 0) return complain("/", errno);
  dialer.epoll = epoll_create1(EPOLL_CLOEXEC);
  if (dialer.epoll < 0) return complain("epoll", errno);
  set_nonblocking(REQUESTS);
  struct epoll_event requests = {.events = EPOLLIN, .data = {.u32 = WATCH_REQUESTS}};
  struct epoll_event channel = {.events = EPOLLIN, .data = {.u32 = WATCH_CHANNEL}};
  if (epoll_ctl(dialer.epoll, EPOLL_CTL_ADD, REQUESTS, &requests) < 0) return complain("stdin", errno);
  if (epoll_ctl(dialer.epoll, EPOLL_CTL_ADD, CHANNEL, &channel) < 0) return complain("descriptor 3", errno);
  serve(&dialer);
  return 0;
}
