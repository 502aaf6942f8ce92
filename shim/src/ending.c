// From init's end to the record, in the order that PROTOCOL.md gives: kill the rest, drain, flush, write down, say so.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim.h"
#include "util.h"

// A record that cannot be written anywhere is tried again this often, as long as a daemon would be waited for.
#define RECORD_RETRY_MS 1000u
// A daemon that is connected is told of the end without a record after this: before its own wait for a stopped container is over.
#define RECORD_PATIENCE_MS 2000u
// The record's name in the state directory.
#define SPARE_RECORD "exit.json"

static void judge(struct shim *shim) {
  struct exit_frame *e = &shim->exit;
  int status = shim->wait_status;
  if (shim->exit_seen && WIFEXITED(status)) {
    e->kind = EXIT_EXITED;
    e->code = (uint8_t)WEXITSTATUS(status);
  } else if (shim->exit_seen && WIFSIGNALED(status)) {
    e->kind = EXIT_SIGNALED;
    e->signal = (uint8_t)WTERMSIG(status);
    e->code = (uint8_t)(128 + e->signal);
  } else {
    e->kind = EXIT_UNKNOWN;
    e->code = 255;
    shim->reason = "the LXC monitor ended without saying how init did";
  }
}

void ending_begin(struct shim *shim, uint64_t finished_ns) {
  if (shim->phase >= PHASE_ENDING) return;
  shim->phase = PHASE_ENDING;
  shim->finished_ns = finished_ns;
  shim->ended_at = shim->stepped_at = shim->now;
  shim->drain_deadline = shim->now + shim->config.drain_ms;
  judge(shim);
  // Without its monitor init dies by itself (PDEATHSIG), unless it has changed its credentials: make sure.
  if ((shim->exit.kind == EXIT_UNKNOWN || shim->start_failed) && shim->init_pidfd >= 0) {
    syscall(SYS_pidfd_send_signal, shim->init_pidfd, SIGKILL, NULL, 0);
  }
  if (shim->config.tty && !shim->out.ended) shim->out.retry_at = shim->now;
}

static bool read_oom(struct shim *shim) {
  char text[32];
  if (shim->config.oom != NULL && read_text(shim->config.oom, text, sizeof text) > 0) return strtoull(text, NULL, 10) > 0;
  return false;
}

// LXC removes its cgroups when it ends; what it leaves (killed, or with a process in it) is killed and removed here.
static bool cgroups_done(struct shim *shim, bool remove) {
  bool done = true;
  for (unsigned i = 0; i < shim->config.cgroup_count; i++) {
    const char *directory = shim->config.cgroups[i];
    if (!shim->cgroups_empty && (i == 0 || remove)) done = cgroup_kill(directory) && done;
    if (!remove) break;
    if (!shim->exit.oom && cgroup_oom(directory)) shim->exit.oom = 1;
    done = cgroup_remove(directory) && done;
  }
  return done;
}

static void finish_start(struct shim *shim) {
  monitor_clean(shim);
  dprintf(shim->report, "error %s %s\n", shim->failure_kind, shim->failure);
  shim->phase = PHASE_ENDED;
  shim->done = true;
}

// The root directory's disk may be full, or failing. The state directory is in memory: a record there is lost at a reboot only.
static bool keep_record(const struct shim *shim) {
  const char *reason = shim->reason != NULL ? shim->reason : "";
  char spare[PATH_MAX];
  if (record_write(shim->config.record, &shim->exit, reason) == 0) return true;
  int length = snprintf(spare, sizeof spare, "%s/" SPARE_RECORD, shim->config.state);
  return length < (int)sizeof spare && record_write(spare, &shim->exit, reason) == 0;
}

bool ending_told(const struct shim *shim) {
  if (shim->phase == PHASE_ENDED) return true;
  return shim->record_failed_at != 0 && shim->now - shim->record_failed_at >= RECORD_PATIENCE_MS;
}

static void finish(struct shim *shim) {
  struct exit_frame *e = &shim->exit;
  log_flush_partial(&shim->log);
  if (read_oom(shim)) e->oom = 1;
  // The first time only: closing the streams ends them.
  if (shim->record_failed_at == 0) e->drained = sources_ended(shim);
  e->offset = shim->ring.next;
  e->started_ns = shim->started_ns;
  e->finished_ns = shim->finished_ns;
  stdio_close(shim);
  monitor_clean(shim);
  if (!shim->exec && !keep_record(shim) && shim->now - shim->ended_at < LINGER_MS) {
    if (shim->record_failed_at == 0) shim->record_failed_at = shim->now;
    shim->record_retry_at = shim->now + RECORD_RETRY_MS;
    return;
  }
  shim->phase = PHASE_ENDED;
  shim->conn.progress_at = shim->now;
}

void ending_step(struct shim *shim) {
  if (shim->phase != PHASE_ENDING) return;
  if (shim->record_retry_at != 0) {
    if (shim->now >= shim->record_retry_at) finish(shim);
    return;
  }
  // Time in which the daemon is waited for (bounded elsewhere) is not the container's.
  if (shim->held) shim->drain_deadline += shim->now - shim->stepped_at;
  shim->stepped_at = shim->now;
  uint64_t passed = shim->now - shim->ended_at;
  if (shim->exec) {
    // Others of the container live in its cgroups; and what a program leaves behind on purpose stays.
    if (sources_ended(shim) || shim->now >= shim->drain_deadline) finish(shim);
    return;
  }
  if (!shim->cgroups_empty) shim->cgroups_empty = cgroups_done(shim, false);
  if (!shim->monitor_ended) {
    if (passed >= MONITOR_END_MS) kill(shim->monitor, SIGKILL);
    return;
  }
  if (!shim->start_failed && !sources_ended(shim) && shim->now < shim->drain_deadline) return;
  if (!cgroups_done(shim, true) && passed < MONITOR_END_MS + CGROUP_END_MS) return;
  if (shim->start_failed) finish_start(shim);
  else finish(shim);
}
