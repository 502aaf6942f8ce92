// What `berth-shim run` is told on descriptor 0: `key=value` strings, each ended by NUL (PROTOCOL.md, "Starting a shim").
#define _GNU_SOURCE
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "util.h"

// A smaller ring could not hold a read of the usual size; a larger one is nobody's wish.
#define RING_LEAST 65536u
#define RING_MOST (64u * 1024 * 1024)
// An hour: longer waits are a mistake in the unit.
#define MOST_MS 3600000u

struct string_key {
  const char *key;
  size_t offset;
  bool absolute;
};

static const struct string_key STRINGS[] = {
    {"id", offsetof(struct config, id), false},
    {"state", offsetof(struct config, state), true},
    {"record", offsetof(struct config, record), true},
    {"lxc-start", offsetof(struct config, lxc_start), true},
    {"lxc-name", offsetof(struct config, lxc_name), false},
    {"lxc-path", offsetof(struct config, lxc_path), true},
    {"lxc-config", offsetof(struct config, lxc_config), true},
    {"lxc-log", offsetof(struct config, lxc_log), true},
    {"trampoline", offsetof(struct config, trampoline), true},
    {"cwd", offsetof(struct config, cwd), true},
    {"log-dir", offsetof(struct config, log_dir), true},
    {"log-path", offsetof(struct config, log_path), false},
    {"oom", offsetof(struct config, oom), true},
    {"seccomp", offsetof(struct config, seccomp), true},
};

struct number_key {
  const char *key;
  uint64_t least, most;
};

static const struct number_key NUMBERS[] = {
    {"rows", 1, UINT16_MAX},    {"cols", 1, UINT16_MAX},    {"ring", RING_LEAST, RING_MOST}, {"late-ms", 0, MOST_MS},
    {"stall-ms", 0, MOST_MS},   {"drain-ms", 0, MOST_MS},   {"partial-ms", 0, MOST_MS},      {"uid", 0, UINT32_MAX - 1},
    {"gid", 0, UINT32_MAX - 1}, {"group", 0, UINT32_MAX - 1}, {"nofile-soft", 1, UINT32_MAX}, {"nofile-hard", 1, UINT32_MAX},
};

static void set_number(struct config *config, const char *key, uint64_t value) {
  if (strcmp(key, "rows") == 0) config->rows = (uint16_t)value;
  else if (strcmp(key, "cols") == 0) config->cols = (uint16_t)value;
  else if (strcmp(key, "ring") == 0) config->ring = (uint32_t)value;
  else if (strcmp(key, "late-ms") == 0) config->late_ms = (uint32_t)value;
  else if (strcmp(key, "stall-ms") == 0) config->stall_ms = (uint32_t)value;
  else if (strcmp(key, "drain-ms") == 0) config->drain_ms = (uint32_t)value;
  else if (strcmp(key, "partial-ms") == 0) config->partial_ms = (uint32_t)value;
  else if (strcmp(key, "uid") == 0) config->uid = (uint32_t)value;
  else if (strcmp(key, "gid") == 0) config->gid = (uint32_t)value;
  // The others are the trampoline's: only checked here.
}

// 1 to 16 hex digits.
static bool is_mask(const char *value) {
  size_t digits = strspn(value, "0123456789abcdef");
  return digits > 0 && digits <= 16 && value[digits] == 0;
}

static bool is_key(const char *entry, size_t key_bytes, const char *key) {
  return strlen(key) == key_bytes && memcmp(entry, key, key_bytes) == 0;
}

static const char *take_flag(const char *value, bool *flag) {
  if (strcmp(value, "0") != 0 && strcmp(value, "1") != 0) return "a flag is neither 0 nor 1";
  *flag = value[0] == '1';
  return NULL;
}

static const char *take_directory(const char *value, const char **list, unsigned *count) {
  if (value[0] != '/') return "a cgroup is not an absolute path";
  if (*count == CONFIG_MAX_CGROUPS) return "too many cgroups";
  list[(*count)++] = value;
  return NULL;
}

static const char *take(struct config *config, const char *entry, size_t key_bytes, const char *value) {
  if (is_key(entry, key_bytes, "arg")) return config->arg_count++, NULL;
  if (is_key(entry, key_bytes, "env")) return NULL;
  if (is_key(entry, key_bytes, "capabilities")) return is_mask(value) ? NULL : "capabilities are not a mask";
  if (is_key(entry, key_bytes, "no-new-privs")) return take_flag(value, &(bool){false});
  if (is_key(entry, key_bytes, "tty")) return take_flag(value, &config->tty);
  if (is_key(entry, key_bytes, "stdin")) return take_flag(value, &config->stdin_open);
  if (is_key(entry, key_bytes, "cgroup")) {
    const char *wrong = take_directory(value, config->cgroups, &config->cgroup_count);
    config->payload_count = config->cgroup_count;
    return wrong;
  }
  if (is_key(entry, key_bytes, "monitor-cgroup")) return take_directory(value, config->cgroups, &config->cgroup_count);
  if (is_key(entry, key_bytes, "shim-cgroup")) return take_directory(value, config->shim_cgroups, &config->shim_cgroup_count);
  if (is_key(entry, key_bytes, "secret")) return parse_secret(value, config->secret) ? NULL : "the secret is not 64 hex digits";
  for (size_t i = 0; i < sizeof STRINGS / sizeof *STRINGS; i++) {
    if (!is_key(entry, key_bytes, STRINGS[i].key)) continue;
    if (*value == 0 || (STRINGS[i].absolute && *value != '/')) return "a path is not absolute, or a value is empty";
    memcpy((char *)config + STRINGS[i].offset, &value, sizeof value);
    return NULL;
  }
  for (size_t i = 0; i < sizeof NUMBERS / sizeof *NUMBERS; i++) {
    if (!is_key(entry, key_bytes, NUMBERS[i].key)) continue;
    uint64_t number;
    if (!parse_number(value, NUMBERS[i].most, &number) || number < NUMBERS[i].least) return "a number is out of range";
    set_number(config, NUMBERS[i].key, number);
    return NULL;
  }
  return "unknown key";
}

static const char *complete(const struct config *config, bool secret) {
  if (!secret) return "no secret";
  if (config->arg_count == 0) return "no arg";
  if ((config->log_dir == NULL) != (config->log_path == NULL)) return "log-dir and log-path come together";
  for (size_t i = 0; i < sizeof STRINGS / sizeof *STRINGS; i++) {
    const char *value;
    memcpy(&value, (const char *)config + STRINGS[i].offset, sizeof value);
    if (value == NULL && strncmp(STRINGS[i].key, "log-", 4) != 0 && strcmp(STRINGS[i].key, "oom") != 0 &&
        strcmp(STRINGS[i].key, "seccomp") != 0)
      return "a key is missing";
  }
  return NULL;
}

static void set_defaults(struct config *config) {
  config->cwd = "/";
  config->rows = 24;
  config->cols = 80;
  config->ring = 262144;
  config->late_ms = 20;
  config->stall_ms = 10000;
  config->drain_ms = 2000;
  config->partial_ms = 100;
}

static const char *take_all(struct config *config, const char *text, size_t bytes, bool *secret) {
  config->text = text;
  config->text_bytes = bytes;
  for (size_t at = 0; at < bytes;) {
    const char *entry = text + at;
    const char *end = memchr(entry, 0, bytes - at);
    if (end == NULL) return "the last string is not ended";
    const char *equals = memchr(entry, '=', (size_t)(end - entry));
    if (equals == NULL) return "a string without =";
    size_t key_bytes = (size_t)(equals - entry);
    const char *wrong = take(config, entry, key_bytes, equals + 1);
    if (wrong != NULL) return wrong;
    if (is_key(entry, key_bytes, "secret")) *secret = true;
    at += (size_t)(end - entry) + 1;
  }
  return NULL;
}

const char *config_parse(struct config *config, const char *text, size_t bytes) {
  bool secret = false;
  memset(config, 0, sizeof *config);
  set_defaults(config);
  const char *wrong = take_all(config, text, bytes, &secret);
  return wrong != NULL ? wrong : complete(config, secret);
}

const char *config_parse_program(struct config *config, const char *text, size_t bytes) {
  bool secret = false;
  set_defaults(config);
  const char *wrong = take_all(config, text, bytes, &secret);
  return wrong != NULL ? wrong : config->arg_count == 0 ? "no arg" : NULL;
}

bool config_keep(struct config *config) {
  bool kept = true;
  for (size_t i = 0; i < sizeof STRINGS / sizeof *STRINGS; i++) {
    char *field = (char *)config + STRINGS[i].offset, *value;
    memcpy(&value, field, sizeof value);
    if (value == NULL) continue;
    value = strdup(value);
    kept = kept && value != NULL;
    memcpy(field, &value, sizeof value);
  }
  for (unsigned i = 0; i < config->cgroup_count; i++) kept = (config->cgroups[i] = strdup(config->cgroups[i])) != NULL && kept;
  config->shim_cgroup_count = 0;
  config->text = NULL;
  config->text_bytes = 0;
  return kept;
}

void config_each(const struct config *config, const char *key, void (*each)(void *context, const char *value, size_t bytes),
                 void *context) {
  size_t key_bytes = strlen(key);
  for (const char *entry = config->text; entry < config->text + config->text_bytes;) {
    size_t length = strlen(entry);
    if (length >= key_bytes && memcmp(entry, key, key_bytes) == 0) each(context, entry + key_bytes, length - key_bytes);
    entry += length + 1;
  }
}
