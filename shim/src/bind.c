// `berth-shim bind`: LXC's start-host hook. Mounts a host's directory into a container whose mounts are all made and whose init waits,
// in the host's own peer group: what is mounted below it on one side shows up on the other.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim.h"
#include "util.h"

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

static int words = 2;

// LXC keeps what its hooks say to itself: the reason goes where report.c looks for LXC's own.
static int refuse(const char *what, int error) {
  dprintf(words, "berth-shim bind - ERROR berth - bind.c - cannot share %s: %s\n", what, strerror(error));
  return 1;
}

// The paths were resolved when the container was made: a link that has appeared since is nobody's wish.
static int open_place(const char *path) {
  struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
  return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
}

int bind_main(int argc, char **argv) {
  // LXC adds words of its own behind ours.
  if (argc < 4 || (strcmp(argv[3], "ro") != 0 && strcmp(argv[3], "rw") != 0)) {
    dprintf(2, "usage: LXC_PID=PID berth-shim bind LOG SOURCE TARGET ro|rw\n");
    return 64;
  }
  const char *source = argv[1], *target = argv[2], *pid = getenv("LXC_PID");
  uint64_t number;
  char path[64];
  // Now, because this path leads nowhere once we are in the container.
  int log = open(argv[0], O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
  if (log >= 0) words = log;
  if (pid == NULL || !parse_number(pid, INT_MAX, &number)) return refuse("LXC_PID", EINVAL);
  snprintf(path, sizeof path, "/proc/%d/ns/mnt", (int)number);
  int namespace = open(path, O_RDONLY | O_CLOEXEC);
  if (namespace < 0) return refuse(path, errno);
  int from = open_place(source);
  if (from < 0) return refuse(source, errno);
  // A copy of a shared mount is its peer, but only when it is made where that is still shared: LXC has made everything
  // in the container's namespace a slave.
  int tree = (int)syscall(SYS_open_tree, from, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_EMPTY_PATH);
  if (tree < 0) return refuse(source, errno);
  struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
  if (strcmp(argv[3], "ro") == 0 && syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &read_only, sizeof read_only) < 0)
    return refuse(source, errno);
  // From here on paths begin at the container's root, and links cannot lead out of it anyway.
  if (setns(namespace, CLONE_NEWNS) < 0) return refuse(path, errno);
  int to = open_place(target);
  if (to < 0) return refuse(target, errno);
  if (syscall(SYS_move_mount, tree, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0) return refuse(target, errno);
  return 0;
}
