// Small helpers that every part of the shim uses: time, memory, files, numbers, complaints.
#ifndef BERTH_UTIL_H
#define BERTH_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// Nanoseconds since 1970.
uint64_t wall_ns(void);
// Milliseconds of the monotonic clock; what every deadline is counted in.
uint64_t mono_ms(void);

// Anonymous pages that cost nothing until they are touched. NULL when there are none.
void *map_pages(size_t bytes);
// The same for what no fork has any use for: it would keep its own copy of all that is overwritten here as long as it lives.
void *map_buffer(size_t bytes);
// Gives touched pages back; they read as zero afterwards.
void drop_pages(void *p, size_t bytes);

// Writes everything, waiting where needed; only for files and for peers that cannot stall us. 0 or an errno.
int write_all(int fd, const void *data, size_t bytes);
// Replaces a small file's text (a cgroup, sysctl or proc file). 0 or an errno.
int write_text(const char *path, const char *text);
// Reads a small file; the text ends with NUL. Bytes read, or -1 with errno.
ssize_t read_text(const char *path, char *buffer, size_t size);

// Unsigned decimal number, whole string, at most `max`.
bool parse_number(const char *text, uint64_t max, uint64_t *out);
// 64 hex digits to 32 bytes.
bool parse_secret(const char *text, uint8_t out[32]);
// Equal, in a time that does not depend on where they differ.
bool equal_secret(const uint8_t *a, const uint8_t *b, size_t bytes);

// Makes the directories of an absolute path, the last component excluded when `parents_only`. 0 or an errno.
int make_dirs(const char *path, mode_t mode, bool parents_only);

// Puts descriptors 0 to 2 on /dev/null and closes every other but `keep` (-1: none).
void close_everything_but(int keep);
// Closes every descriptor from `first` on.
void close_fds_from(unsigned first);
// Sets O_NONBLOCK.
void set_nonblocking(int fd);
// Default dispositions for all signals, nothing blocked: what a program that we start must find.
void reset_signals(void);

// Says on stderr what has failed, with the errno's text. Gives 1, the status of a command that has.
int complain(const char *what, int error);

#endif
