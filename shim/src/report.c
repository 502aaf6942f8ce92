// The one line that says how the start went, passed on by the process that the daemon started.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shim.h"
#include "util.h"

// How much of the end of LXC's log is looked through.
#define LOG_TAIL 8192

void report_ok(struct shim *shim) {
  if (shim->report < 0) return;
  dprintf(shim->report, "ok %d\n", (int)shim->init);
  unwatch(shim, shim->report);
  close(shim->report);
  shim->report = -1;
}

static void put(struct shim *shim, const char *kind, const char *text) {
  snprintf(shim->failure_kind, sizeof shim->failure_kind, "%s", kind);
  size_t out = 0;
  bool blank = true;
  for (; *text != 0 && out + 1 < sizeof shim->failure; text++) {
    unsigned char c = (unsigned char)*text;
    // One line, and nothing that a terminal would act upon.
    if (c < ' ' || c == 127) c = ' ';
    if (c == ' ' && blank) continue;
    blank = c == ' ';
    shim->failure[out++] = (char)c;
  }
  while (out > 0 && shim->failure[out - 1] == ' ') out--;
  shim->failure[out] = 0;
}

static const char *first_argument(struct shim *shim) {
  const char *text = shim->config.text;
  for (size_t at = 0; text != NULL && at < shim->config.text_bytes; at += strlen(text + at) + 1) {
    if (strncmp(text + at, "arg=", 4) == 0) return text + at + 4;
  }
  return "";
}

void report_error(struct shim *shim, const char *kind, const char *text) {
  if (kind != NULL) return put(shim, kind, text);
  const uint8_t *s = shim->status_bytes;
  int error = (int)((uint32_t)s[1] | (uint32_t)s[2] << 8 | (uint32_t)s[3] << 16 | (uint32_t)s[4] << 24);
  char line[1024];
  switch (s[0]) {
    case STATUS_NOT_FOUND:
      snprintf(line, sizeof line, "%.800s: %s", first_argument(shim), strerror(error));
      return put(shim, "notfound", line);
    case STATUS_NOT_EXECUTABLE:
      snprintf(line, sizeof line, "%.800s: %s", first_argument(shim), strerror(error));
      return put(shim, "noexec", line);
    case STATUS_CWD:
      snprintf(line, sizeof line, "%.800s: %s", shim->config.cwd, strerror(error));
      return put(shim, "cwd", line);
    case STATUS_SECCOMP:
      snprintf(line, sizeof line, "the seccomp filter cannot be loaded: %s", strerror(error));
      return put(shim, "system", line);
    default:
      snprintf(line, sizeof line, "the trampoline failed: %s", strerror(error));
      return put(shim, "system", line);
  }
}

// The message of a log line `lxc-start NAME TIME ERROR part - file:function:line - message`, or NULL.
static const char *error_message(char *line) {
  char *at = strstr(line, " ERROR ");
  if (at == NULL) return NULL;
  for (int i = 0; i < 2; i++) {
    at = strstr(at, " - ");
    if (at == NULL) return NULL;
    at += 3;
  }
  return at;
}

// LXC's first error says why, its last one what that ended.
void report_lxc(struct shim *shim) {
  char tail[LOG_TAIL], line[LXC_WORDS];
  const char *first = NULL, *last = NULL;
  ssize_t n = 0;
  int fd = open(shim->config.lxc_log, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    n = pread(fd, tail, sizeof tail - 1, shim->log_start);
    close(fd);
  }
  tail[n > 0 ? n : 0] = 0;
  for (char *at = tail, *next; at != NULL && *at != 0; at = next) {
    next = strchr(at, '\n');
    if (next != NULL) *next++ = 0;
    const char *message = error_message(at);
    // Some errors are none: LXC goes on, and says so.
    if (message == NULL || strstr(message, "Continuing...") != NULL) continue;
    if (first == NULL) first = message;
    last = message;
  }
  if (shim->words >= 0) start_words(shim);
  shim->text[shim->text_bytes < sizeof shim->text ? shim->text_bytes : sizeof shim->text - 1] = 0;
  if (first == NULL) {
    const char *said = shim->text_bytes > 0 ? shim->text : "lxc-start ended without a word";
    return put(shim, "lxc", said);
  }
  if (first == last) snprintf(line, sizeof line, "%s", first);
  else snprintf(line, sizeof line, "%.1000s; %.1000s", first, last);
  put(shim, "lxc", line);
}
