// The exit record: one line of JSON, where the disk takes it, durable before anybody is told of the exit.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shim.h"
#include "util.h"

static void sync_directory(const char *path) {
  char directory[PATH_MAX];
  snprintf(directory, sizeof directory, "%s", path);
  char *slash = strrchr(directory, '/');
  if (slash == NULL || slash == directory) return;
  *slash = 0;
  int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

int record_write(const char *path, const struct exit_frame *exit, const char *reason) {
  static const char *const KINDS[] = {"exited", "signaled", "unknown"};
  char text[512], temporary[PATH_MAX];
  // `reason` is one of our own texts: nothing in it needs escaping.
  int length = snprintf(text, sizeof text,
                        "{\"kind\":\"%s\",\"code\":%u,\"signal\":%u,\"oom\":%s,\"offset\":\"%" PRIu64 "\",\"startedAt\":\"%" PRIu64
                        "\",\"finishedAt\":\"%" PRIu64 "\",\"drained\":%s,\"reason\":\"%s\"}\n",
                        KINDS[exit->kind], exit->code, exit->signal, exit->oom ? "true" : "false", exit->offset, exit->started_ns,
                        exit->finished_ns, exit->drained ? "true" : "false", reason);
  if (snprintf(temporary, sizeof temporary, "%s.tmp", path) >= (int)sizeof temporary) return ENAMETOOLONG;
  int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return errno;
  int error = write_all(fd, text, (size_t)length);
  if (error == 0 && fsync(fd) < 0) error = errno;
  close(fd);
  if (error == 0 && rename(temporary, path) < 0) error = errno;
  if (error != 0) unlink(temporary);
  else sync_directory(path);
  return error;
}
