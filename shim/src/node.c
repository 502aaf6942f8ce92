// `berth-shim node`: LXC's autodev hook. Makes one device node in the container's own /dev, so that what the container does to its mode
// and owner never reaches the host's node.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "shim.h"
#include "util.h"

// LXC keeps what its hooks say to itself: the reason goes where report.c looks for LXC's own.
static int refuse(int log, const char *path, int error) {
  dprintf(log, "berth-shim node - ERROR berth - node.c - cannot make /dev/%s: %s\n", path, strerror(error));
  return 1;
}

// Volumes may be mounted in /dev already: neither they nor links of theirs are a way out of it.
static int open_below(int directory, const char *name, uint64_t resolve) {
  struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | resolve};
  return (int)syscall(SYS_openat2, directory, name, &how, sizeof how);
}

static int make_node(const char *root, const char *path, mode_t mode, dev_t device, uid_t uid, gid_t gid) {
  char copy[PATH_MAX];
  if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy) return ENAMETOOLONG;
  int top = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
  int at = top < 0 ? -1 : open_below(top, "dev", 0);
  if (at < 0) return errno;
  // The mode is to be the host's, whatever the daemon was started with.
  umask(0);
  char *name = copy;
  for (char *slash; (slash = strchr(name, '/')) != NULL; name = slash + 1) {
    *slash = 0;
    if (mkdirat(at, name, 0755) < 0 && errno != EEXIST) return errno;
    at = open_below(at, name, RESOLVE_NO_XDEV);
    if (at < 0) return errno;
  }
  if (mknodat(at, name, mode, device) < 0) {
    struct stat found;
    if (errno != EEXIST) return errno;
    if (fstatat(at, name, &found, AT_SYMLINK_NOFOLLOW) < 0) return errno;
    // A file is the mount point of what covers this place, as the terminal does /dev/console.
    return S_ISDIR(found.st_mode) ? EEXIST : 0;
  }
  return fchownat(at, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ? errno : 0;
}

int node_main(int argc, char **argv) {
  uint64_t major, minor, mode, uid, gid;
  const char *root = getenv("LXC_ROOTFS_MOUNT");
  // LXC adds words of its own behind ours.
  if (argc < 8 || root == NULL || (strcmp(argv[1], "b") != 0 && strcmp(argv[1], "c") != 0) ||
      !parse_number(argv[2], UINT32_MAX, &major) || !parse_number(argv[3], UINT32_MAX, &minor) || !parse_number(argv[4], 07777, &mode) ||
      !parse_number(argv[5], UINT32_MAX, &uid) || !parse_number(argv[6], UINT32_MAX, &gid)) {
    dprintf(2, "usage: LXC_ROOTFS_MOUNT=ROOT berth-shim node LOG b|c MAJOR MINOR MODE UID GID PATH\n");
    return 64;
  }
  const char *path = argv[7];
  int log = open(argv[0], O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
  mode_t type = *argv[1] == 'b' ? S_IFBLK : S_IFCHR;
  int error = make_node(root, path, type | (mode_t)mode, makedev((unsigned)major, (unsigned)minor), (uid_t)uid, (gid_t)gid);
  return error == 0 ? 0 : refuse(log >= 0 ? log : 2, path, error);
}
