// `berth-shim overlay`: one overlay mount, from a directory of the caller's choice, so that many layers fit into a page by short names.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "shim.h"
#include "util.h"

int overlay_main(int argc, char **argv) {
  const char *target = NULL, *data = NULL, *cwd = NULL;
  for (int i = 0; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--target") == 0) target = argv[i + 1];
    else if (strcmp(argv[i], "--data") == 0) data = argv[i + 1];
    else if (strcmp(argv[i], "--cwd") == 0) cwd = argv[i + 1];
    else return complain(argv[i], EINVAL), 64;
  }
  if (argc % 2 != 0 || target == NULL || data == NULL) {
    dprintf(2, "usage: berth-shim overlay --target T --data OPTIONS [--cwd DIR]\n");
    return 64;
  }
  if (cwd != NULL && chdir(cwd) < 0) return complain(cwd, errno);
  if (mount("overlay", target, "overlay", 0, data) < 0) return complain(target, errno);
  return 0;
}
