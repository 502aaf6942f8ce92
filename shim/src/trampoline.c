// Init's first program, inside the container, as its root: fetches its stdio and what to execute, as whom, from the shim, becomes that.
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "become.h"
#include "descriptors.h"
#include "shim.h"
#include "util.h"

// Nobody told us what to be: a second start of the same init, or not a shim on the other side.
#define EXIT_NOBODY 125

static bool fetch(int socket, int fds[HANDSHAKE_FDS]) {
  char byte = 'r';
  if (send(socket, &byte, 1, MSG_NOSIGNAL) != 1) return false;
  ssize_t n;
  do n = receive_descriptors(socket, &byte, 1, fds, HANDSHAKE_FDS, 0);
  while (n < 0 && errno == EINTR);
  return n == 1 && fds[0] >= 0;
}

static void read_specification(int fd, struct specification *s, int status) {
  struct stat st;
  if (fstat(fd, &st) < 0 || st.st_size <= 0) become_fail(status, STATUS_SYSTEM, errno != 0 ? errno : EINVAL);
  // Private: what reads it takes it apart in place.
  char *text = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  if (text == MAP_FAILED) become_fail(status, STATUS_SYSTEM, errno);
  if (specification_read(s, text, (size_t)st.st_size) != NULL) become_fail(status, STATUS_SYSTEM, EINVAL);
}

int trampoline_main(int argc, char **argv) {
  uint64_t socket;
  int fds[HANDSHAKE_FDS];
  if (argc != 1 || !parse_number(argv[0], 1024, &socket) || !fetch((int)socket, fds)) return EXIT_NOBODY;
  struct specification s;
  read_specification(fds[1], &s, fds[0]);
  setsid();
  become(&s, fds + 3, fds[2], fds[0]);
}
