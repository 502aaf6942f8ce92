// From a specification to the program: see become.c.
#ifndef BERTH_BECOME_H
#define BERTH_BECOME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct specification {
  bool tty, no_new_privileges, capabilities_given;
  const char *cwd;
  char **argv, **envp;
  uid_t uid;
  gid_t gid;
  gid_t *groups;
  size_t group_count;
  uint64_t capabilities;  // the bounding set; not given: all that there are
  uint64_t nofile_soft, nofile_hard;
};

// Reads `key=value` strings, each ended by NUL, in the configuration's own form; pointers into `text` stay in use. NULL, or what is wrong.
const char *specification_read(struct specification *s, char *text, size_t bytes);

// Becomes the program. `stdio` are its descriptors 0 to 2, `seccomp` a file with the compiled filter (or anything that is no regular
// file, or -1: none); `status` is told what failed, and is closed by a successful execve.
_Noreturn void become(const struct specification *s, const int stdio[3], int seccomp, int status);
_Noreturn void become_fail(int status, uint8_t step, int error);

#endif
