// Linked into build/berth-shim-faults before the C library (ld's --wrap): makes fail what a test cannot make fail from outside.
// BERTH_FAULT says where and what, `<process name> <fault>`, for example `berth-exec epoll`.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

// What is there no more must not be killed: the number may be another process's by now.
#define EXIT_KILLED_REAPED 99

int __real_epoll_create1(int flags);
int __real_signalfd(int fd, const sigset_t *set, int flags);
long __real_syscall(long number, long a, long b, long c, long d, long e);
pid_t __real_setsid(void);
pid_t __real_waitpid(pid_t pid, int *status, int options);
int __real_kill(pid_t pid, int signal);
ssize_t __real_read_text(const char *path, char *buffer, size_t size);

static pid_t reaped;

static bool hit(const char *fault) {
  char name[17] = "", wanted[64];
  const char *chosen = getenv("BERTH_FAULT");
  prctl(PR_GET_NAME, name);
  snprintf(wanted, sizeof wanted, "%s %s", name, fault);
  return chosen != NULL && strcmp(chosen, wanted) == 0;
}

int __wrap_epoll_create1(int flags) {
  if (hit("epoll")) return errno = ENFILE, -1;
  return __real_epoll_create1(flags);
}

int __wrap_signalfd(int fd, const sigset_t *set, int flags) {
  if (hit("signalfd")) return errno = ENFILE, -1;
  return __real_signalfd(fd, set, flags);
}

// No call of ours has more than five arguments.
long __wrap_syscall(long number, long a, long b, long c, long d, long e) {
  if (number == SYS_pidfd_open && hit("pidfd")) return errno = ENFILE, -1;
  return __real_syscall(number, a, b, c, d, e);
}

// Of what joins the container: killed before its program runs. Its supervisor sees it dead as soon as it asks.
pid_t __wrap_setsid(void) {
  if (hit("killed")) raise(SIGKILL);
  return __real_setsid();
}

pid_t __wrap_waitpid(pid_t pid, int *status, int options) {
  pid_t ended = __real_waitpid(pid, status, hit("killed") ? options & ~WNOHANG : options);
  if (ended > 0) reaped = ended;
  return ended;
}

int __wrap_kill(pid_t pid, int signal) {
  if (reaped > 0 && (pid == reaped || pid == -reaped)) _exit(EXIT_KILLED_REAPED);
  return __real_kill(pid, signal);
}

// An init with a profile whose name begins like that of none.
ssize_t __wrap_read_text(const char *path, char *buffer, size_t size) {
  const char *file = "/attr/apparmor/current", *label = hit("profile") ? "unconfined_not (enforce)\n" : hit("no-profile") ? "unconfined\n" : NULL;
  size_t length = strlen(path);
  if (label == NULL || length < strlen(file) || strcmp(path + length - strlen(file), file) != 0) return __real_read_text(path, buffer, size);
  return snprintf(buffer, size, "%s", label);
}
