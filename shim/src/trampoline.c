// Init's first program, inside the container, as its final user: fetches its stdio and what to execute from the shim, becomes that.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim.h"
#include "util.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

// Nobody told us what to be: a second start of the same init, or not a shim on the other side.
#define EXIT_NOBODY 125
#define EXIT_FAILED 127
// As other runtimes and shells take it when the container says nothing.
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static int status_fd = -1;

static _Noreturn void fail(uint8_t step, int error) {
  uint8_t message[STATUS_BYTES] = {step, (uint8_t)error, (uint8_t)(error >> 8), (uint8_t)(error >> 16), (uint8_t)(error >> 24)};
  write_all(status_fd, message, sizeof message);
  _exit(EXIT_FAILED);
}

static bool fetch(int socket, int fds[HANDSHAKE_FDS]) {
  char byte = 'r';
  if (send(socket, &byte, 1, MSG_NOSIGNAL) != 1) return false;
  struct iovec vector = {&byte, 1};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int) * HANDSHAKE_FDS)];
  } control;
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t n;
  do n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  struct cmsghdr *c = n == 1 ? CMSG_FIRSTHDR(&message) : NULL;
  if (c == NULL || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) return false;
  if (c->cmsg_len != CMSG_LEN(sizeof(int) * HANDSHAKE_FDS)) return false;
  memcpy(fds, CMSG_DATA(c), sizeof(int) * HANDSHAKE_FDS);
  return true;
}

// The program gets 0 to 2 and nothing else, whatever LXC and its hooks have left open.
static void close_on_exec_from_3(void) {
  if (syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC) == 0) return;
  DIR *dir = opendir("/proc/self/fd");
  if (dir == NULL) {
    for (int fd = 3; fd < 4096; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);
    return;
  }
  struct dirent *entry;
  while ((entry = readdir(dir)) != NULL) {
    int fd = atoi(entry->d_name);
    if (fd > 2) fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  closedir(dir);
}

struct specification {
  bool tty;
  const char *cwd;
  char **argv, **envp;
};

static void read_specification(int fd, struct specification *s) {
  struct stat st;
  if (fstat(fd, &st) < 0 || st.st_size <= 0) fail(STATUS_SYSTEM, errno != 0 ? errno : EINVAL);
  size_t bytes = (size_t)st.st_size;
  char *text = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
  if (text == MAP_FAILED) fail(STATUS_SYSTEM, errno);
  size_t strings = 0;
  for (size_t at = 0; at < bytes; at += strlen(text + at) + 1) strings++;
  char **list = malloc((strings + 2) * sizeof *list);
  if (list == NULL) fail(STATUS_SYSTEM, ENOMEM);
  // The arguments come first, then the environment: one list with a NULL between.
  size_t count = 0;
  s->argv = list;
  s->envp = NULL;
  for (size_t at = 0; at < bytes; at += strlen(text + at) + 1) {
    char *entry = text + at;
    if (strncmp(entry, "tty=", 4) == 0) s->tty = entry[4] == '1';
    if (strncmp(entry, "cwd=", 4) == 0) s->cwd = entry + 4;
    if (strncmp(entry, "arg=", 4) == 0) list[count++] = entry + 4;
    if (strncmp(entry, "env=", 4) != 0) continue;
    if (s->envp == NULL) {
      list[count++] = NULL;
      s->envp = list + count;
    }
    list[count++] = entry + 4;
  }
  list[count] = NULL;
  if (s->envp == NULL) s->envp = list + count;
}

// As execvp does, with the container's own PATH. Gives the errno of the attempt that says most.
static int execute(const struct specification *s) {
  const char *name = s->argv[0], *path = DEFAULT_PATH;
  if (*name == 0) return ENOENT;
  if (strchr(name, '/') != NULL) {
    execve(name, s->argv, s->envp);
    return errno;
  }
  for (char **e = s->envp; *e != NULL; e++) {
    if (strncmp(*e, "PATH=", 5) != 0) continue;
    path = *e + 5;
    break;
  }
  int result = ENOENT;
  for (;;) {
    const char *end = strchrnul(path, ':');
    char candidate[PATH_MAX];
    int length = snprintf(candidate, sizeof candidate, "%.*s%s%s", (int)(end - path), path, end == path ? "./" : "/", name);
    if (length > 0 && (size_t)length < sizeof candidate) {
      execve(candidate, s->argv, s->envp);
      if (errno == EACCES) result = EACCES;
      else if (errno != ENOENT && errno != ENOTDIR && errno != ESTALE && errno != ENODEV && errno != ETIMEDOUT) return errno;
    }
    if (*end == 0) return result;
    path = end + 1;
  }
}

int trampoline_main(int argc, char **argv) {
  uint64_t socket;
  int fds[HANDSHAKE_FDS];
  if (argc != 1 || !parse_number(argv[0], 1024, &socket) || !fetch((int)socket, fds)) return EXIT_NOBODY;
  status_fd = fds[0];
  struct specification s = {.cwd = "/"};
  read_specification(fds[1], &s);
  setsid();
  for (int i = 0; i < 3; i++) {
    if (dup2(fds[2 + i], i) < 0) fail(STATUS_SYSTEM, errno);
  }
  if (s.tty && ioctl(0, TIOCSCTTY, 0) < 0) fail(STATUS_SYSTEM, errno);
  close_on_exec_from_3();
  if (chdir(s.cwd) < 0) fail(STATUS_CWD, errno);
  reset_signals();
  int error = execute(&s);
  fail(error == ENOENT || error == ENOTDIR ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE, error);
}
