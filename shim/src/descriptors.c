// Descriptors that go along with a message of a Unix socket.
#define _GNU_SOURCE
#include "descriptors.h"

#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

union control {
  struct cmsghdr header;
  char bytes[CMSG_SPACE(sizeof(int) * MAX_DESCRIPTORS)];
};

ssize_t send_descriptors(int socket, const void *data, size_t bytes, const int *fds, size_t count, int flags) {
  struct iovec vector = {.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
  union control control;
  memset(&control, 0, sizeof control);
  if (count > 0) {
    message.msg_control = &control;
    message.msg_controllen = (socklen_t)CMSG_SPACE(sizeof(int) * count);
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = (socklen_t)CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
  }
  return sendmsg(socket, &message, flags);
}

ssize_t receive_descriptors(int socket, void *data, size_t bytes, int *fds, size_t count, int flags) {
  struct iovec vector = {.iov_base = data, .iov_len = bytes};
  union control control;
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = (socklen_t)CMSG_SPACE(sizeof(int) * count)};
  fds[0] = -1;
  ssize_t n = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
  struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
  if (c == NULL || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(int) * count)) return n;
  memcpy(fds, CMSG_DATA(c), sizeof(int) * count);
  return n;
}
