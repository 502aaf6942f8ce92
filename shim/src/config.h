// What `berth-shim run` is told on descriptor 0: `key=value` strings, each ended by NUL (PROTOCOL.md, "Starting a shim").
#ifndef BERTH_CONFIG_H
#define BERTH_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Linux takes at most 6 MiB of arguments and environment (3/4 of _STK_LIM); the rest of a configuration is small.
#define CONFIG_MAX_BYTES (8u * 1024 * 1024)
// v1 has about a dozen hierarchies, each may name a payload cgroup and one of the monitor.
#define CONFIG_MAX_CGROUPS 48

struct config {
  const char *id;
  uint8_t secret[32];
  const char *state;
  const char *record;
  const char *lxc_start, *lxc_name, *lxc_path, *lxc_config, *lxc_log;
  const char *trampoline;
  const char *cwd;
  const char *seccomp;
  uint32_t uid, gid;  // of init
  bool tty, stdin_open;
  uint16_t rows, cols;
  const char *log_dir, *log_path;
  uint32_t ring;
  uint32_t late_ms, stall_ms, drain_ms, partial_ms;
  const char *oom;
  const char *cgroups[CONFIG_MAX_CGROUPS];
  unsigned cgroup_count, payload_count;  // the payload's come first
  const char *shim_cgroups[CONFIG_MAX_CGROUPS];
  unsigned shim_cgroup_count;
  // argv and environment of init: positions of their values in `text`, in the order given.
  const char *text;
  size_t text_bytes;
  unsigned arg_count;
};

// Reads `bytes` bytes of configuration; `text` must stay as it is while `config` is used. NULL, or what is wrong with it.
const char *config_parse(struct config *config, const char *text, size_t bytes);

// The same for a program that joins the container: only what concerns it has to be there. Keeps the cgroups that are set already.
const char *config_parse_program(struct config *config, const char *text, size_t bytes);

// Copies what is needed for the container's life, so that `text` can go. False when there is no memory.
bool config_keep(struct config *config);

// Calls `each` with the value of every `key` (with its '='), in order.
void config_each(const struct config *config, const char *key, void (*each)(void *context, const char *value, size_t bytes),
                 void *context);

#endif
