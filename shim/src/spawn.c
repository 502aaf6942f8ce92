// `berth-shim spawn`: starts programs for the daemon. A fork copies the tables of a process's memory, which for a daemon of some 100 MiB takes
// milliseconds in which it serves nobody; here it takes microseconds. What is started, and what becomes of what it says, the daemon decides.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim.h"
#include "util.h"

// Where the daemon puts its ends.
#define REQUESTS 0
#define ANSWERS 1
// Our stderr once more, which every program inherits: the daemon reads its end when the last of them has ended, even if we were killed.
#define LIFE 3
#define HEAD_BYTES 12u
// The largest input is a container's settings.
#define MAX_REQUEST_BYTES (CONFIG_MAX_BYTES + 64u * 1024)
// A pod may have 256 sysctls, each with a word before it.
#define MAX_ARGUMENTS 1024u
#define OUTPUT_AT_ONCE 4096u
#define EVENTS_AT_ONCE 16
// Programs that have not been told to have ended; the daemon keeps to it, so one more is a fault of its.
#define MAX_JOBS 128u
#define WATCH_REQUESTS (2 * MAX_JOBS)
#define WATCH_CHILDREN (2 * MAX_JOBS + 1)

enum request_kind { RUN = 1, KILL = 2, LEAVE = 3 };
enum request_flag { HAS_INPUT = 1, OWN_SESSION = 2 };
enum answer_kind { STDOUT = 1, STDERR = 2, ENDED = 3, FAILED = 4, TAKEN = 5 };

struct job {
  bool used, ended;
  uint32_t id;
  pid_t pid;
  int output[2];  // of its stdout and stderr; -1: at its end
  uint32_t status;
};

struct spawner {
  int epoll, children;
  bool over;  // nothing more is asked for
  size_t have, touched;  // of the requests: what is there, and how far there was anything
  uint8_t *requests;
  struct job jobs[MAX_JOBS];
};

static uint32_t u32(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }

static void put_u32(uint8_t *p, uint32_t value) {
  for (int i = 0; i < 4; i++) p[i] = (uint8_t)(value >> (8 * i));
}

// The daemon reads whatever else it does, so this waits at most for its next turn. When it is gone, the end of its requests says so.
static void answer(uint32_t id, enum answer_kind kind, const void *payload, uint32_t bytes) {
  uint8_t frame[HEAD_BYTES + OUTPUT_AT_ONCE] = {0};
  put_u32(frame, bytes);
  put_u32(frame + 4, id);
  frame[8] = (uint8_t)kind;
  memcpy(frame + HEAD_BYTES, payload, bytes);
  (void)write_all(ANSWERS, frame, HEAD_BYTES + bytes);
}

static void answer_number(uint32_t id, enum answer_kind kind, uint32_t number) {
  uint8_t payload[4];
  put_u32(payload, number);
  answer(id, kind, payload, sizeof payload);
}

static struct job *find(struct spawner *spawner, uint32_t id) {
  for (uint32_t i = 0; i < MAX_JOBS; i++) {
    if (spawner->jobs[i].used && spawner->jobs[i].id == id) return &spawner->jobs[i];
  }
  return NULL;
}

static void close_fd(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

// Frees the place of a program that is over.
static void settle(struct job *job) {
  if (!job->ended || job->output[0] >= 0 || job->output[1] >= 0) return;
  job->used = false;
  answer_number(job->id, ENDED, job->status);
}

// Input in a file without a name: nobody has to wait until the program has read it.
static int input_file(const uint8_t *input, size_t bytes) {
  int fd = memfd_create("input", MFD_CLOEXEC);
  if (fd < 0) return -1;
  int error = write_all(fd, input, bytes);
  if (error == 0 && lseek(fd, 0, SEEK_SET) < 0) error = errno;
  if (error == 0) return fd;
  close(fd);
  errno = error;
  return -1;
}

static void become(pid_t helper, char **argv, int input, const int output[2], bool own_session, int failed) {
  // When we are killed the daemon's call fails and it cleans up: nothing of it may go on behind that.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != helper) _exit(127);
  if (own_session) setsid();
  reset_signals();
  if (dup2(input, 0) >= 0 && dup2(output[0], 1) >= 0 && dup2(output[1], 2) >= 0) execvp(argv[0], argv);
  int error = errno;
  (void)!write(failed, &error, sizeof error);
  _exit(127);
}

// Starts a program; its outputs are the job's. 0 or an errno.
static int start(struct job *job, char **argv, int input, bool own_session) {
  int out[2] = {-1, -1}, err[2] = {-1, -1}, failed[2] = {-1, -1}, error = 0;
  if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 || pipe2(failed, O_CLOEXEC) < 0) error = errno;
  set_nonblocking(out[0]);
  set_nonblocking(err[0]);
  if (error == 0) {
    pid_t helper = getpid(), pid = fork();
    if (pid == 0) become(helper, argv, input, (int[2]){out[1], err[1]}, own_session, failed[1]);
    if (pid < 0) error = errno;
    else {
      close_fd(&failed[1]);
      job->pid = pid;
      ssize_t n;
      // Its end is that of the exec.
      do n = read(failed[0], &error, sizeof error);
      while (n < 0 && errno == EINTR);
      if (n <= 0) error = 0;
      else waitpid(pid, NULL, 0);
    }
  }
  job->output[0] = error == 0 ? out[0] : -1;
  job->output[1] = error == 0 ? err[0] : -1;
  if (error != 0) {
    close_fd(&out[0]);
    close_fd(&err[0]);
  }
  close_fd(&out[1]);
  close_fd(&err[1]);
  close_fd(&failed[0]);
  close_fd(&failed[1]);
  return error;
}

static bool watch_readable(struct spawner *spawner, int fd, uint32_t what) {
  struct epoll_event event = {.events = EPOLLIN, .data = {.u32 = what}};
  return epoll_ctl(spawner->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

// Words that end with NUL each, at least one. False: they are none.
static bool split(char *text, size_t bytes, char **argv) {
  size_t count = 0;
  if (bytes == 0 || text[bytes - 1] != 0) return false;
  for (size_t at = 0; at < bytes; at += strlen(text + at) + 1) {
    if (count == MAX_ARGUMENTS) return false;
    argv[count++] = text + at;
  }
  argv[count] = NULL;
  return argv[0][0] != 0;
}

// u32 bytes of words | words | input. False: it is no request.
static bool run(struct spawner *spawner, uint32_t id, uint8_t flags, uint8_t *payload, size_t bytes) {
  char *argv[MAX_ARGUMENTS + 1];
  if (flags > (HAS_INPUT | OWN_SESSION) || bytes < 4 || find(spawner, id) != NULL) return false;
  size_t words = u32(payload), input_bytes = bytes - 4 - words;
  if (words > bytes - 4 || !split((char *)payload + 4, words, argv)) return false;
  if ((flags & HAS_INPUT) == 0 && input_bytes > 0) return false;
  uint32_t index = 0;
  while (index < MAX_JOBS && spawner->jobs[index].used) index++;
  if (index == MAX_JOBS) return false;
  struct job *job = &spawner->jobs[index];
  *job = (struct job){.id = id, .output = {-1, -1}};
  // First of all: what has no such answer when we are killed has not been run, and may be asked of another helper.
  answer(id, TAKEN, "", 0);
  int input = (flags & HAS_INPUT) != 0 ? input_file(payload + 4 + words, input_bytes) : open("/dev/null", O_RDONLY | O_CLOEXEC);
  int error = input < 0 ? errno : start(job, argv, input, (flags & OWN_SESSION) != 0);
  close_fd(&input);
  if (error != 0) {
    answer_number(id, FAILED, (uint32_t)error);
    return true;
  }
  job->used = true;
  // An output that cannot be watched is one that ends at once.
  for (uint32_t which = 0; which < 2; which++) {
    if (!watch_readable(spawner, job->output[which], 2 * index + which)) close_fd(&job->output[which]);
  }
  return true;
}

// u32 bytes behind these twelve | u32 id | u8 kind | u8 flags | u16 zero; little-endian. False: it is none.
static bool take_request(struct spawner *spawner, uint8_t *frame) {
  size_t bytes = u32(frame);
  uint32_t id = u32(frame + 4);
  if (frame[10] != 0 || frame[11] != 0) return false;
  if (frame[8] == RUN) return run(spawner, id, frame[9], frame + HEAD_BYTES, bytes);
  if ((frame[8] != KILL && frame[8] != LEAVE) || frame[9] != 0 || bytes != 0) return false;
  struct job *job = find(spawner, id);
  // Too late: the answer is on its way.
  if (job == NULL) return true;
  if (frame[8] == KILL) {
    if (!job->ended) kill(job->pid, SIGKILL);
    return true;
  }
  // It goes on, with nobody who listens; its end is nobody's business.
  for (int which = 0; which < 2; which++) close_fd(&job->output[which]);
  job->used = false;
  return true;
}

// False: what came is no request.
static bool requests_read(struct spawner *spawner) {
  ssize_t n = read(REQUESTS, spawner->requests + spawner->have, MAX_REQUEST_BYTES - spawner->have);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (n <= 0) {
    spawner->over = true;
    epoll_ctl(spawner->epoll, EPOLL_CTL_DEL, REQUESTS, NULL);
    return true;
  }
  spawner->have += (size_t)n;
  if (spawner->have > spawner->touched) spawner->touched = spawner->have;
  size_t at = 0;
  while (spawner->have - at >= HEAD_BYTES) {
    uint8_t *frame = spawner->requests + at;
    if (u32(frame) > MAX_REQUEST_BYTES - HEAD_BYTES) {
      dprintf(2, "berth-shim: not a request\n");
      return false;
    }
    if (spawner->have - at < HEAD_BYTES + u32(frame)) break;
    at += HEAD_BYTES + u32(frame);
    if (!take_request(spawner, frame)) {
      dprintf(2, "berth-shim: not a request\n");
      return false;
    }
  }
  spawner->have -= at;
  if (at > 0) memmove(spawner->requests, spawner->requests + at, spawner->have);
  // Settings of containers are secrets, and may be large.
  if (spawner->have == 0) {
    drop_pages(spawner->requests, spawner->touched);
    spawner->touched = 0;
  }
  return true;
}

static void output_read(struct spawner *spawner, uint32_t what) {
  struct job *job = &spawner->jobs[what / 2];
  int *fd = &job->output[what % 2];
  // Of the one that had this place before.
  if (!job->used || *fd < 0) return;
  uint8_t bytes[OUTPUT_AT_ONCE];
  ssize_t n = read(*fd, bytes, sizeof bytes);
  if (n > 0) {
    answer(job->id, what % 2 == 0 ? STDOUT : STDERR, bytes, (uint32_t)n);
    return;
  }
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  close_fd(fd);
  settle(job);
}

static void children_reap(struct spawner *spawner) {
  struct signalfd_siginfo ignored;
  (void)!read(spawner->children, &ignored, sizeof ignored);
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    for (uint32_t i = 0; i < MAX_JOBS; i++) {
      struct job *job = &spawner->jobs[i];
      if (!job->used || job->ended || job->pid != pid) continue;
      job->ended = true;
      job->status = WIFEXITED(status) ? (uint32_t)WEXITSTATUS(status) : 255u;
      settle(job);
    }
  }
}

// The daemon has gone, and what it has had started has come to its end, which ours would be before.
static bool done(const struct spawner *spawner) {
  siginfo_t any;
  return spawner->over && waitid(P_ALL, 0, &any, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD;
}

static void serve(struct spawner *spawner) {
  struct epoll_event events[EVENTS_AT_ONCE];
  while (!done(spawner)) {
    int count = epoll_wait(spawner->epoll, events, EVENTS_AT_ONCE, -1);
    if (count < 0 && errno != EINTR) return;
    for (int i = 0; i < count; i++) {
      uint32_t what = events[i].data.u32;
      if (what == WATCH_CHILDREN) children_reap(spawner);
      else if (what != WATCH_REQUESTS) output_read(spawner, what);
      else if (!requests_read(spawner)) return;
    }
  }
}

int spawn_main(int argc) {
  static struct spawner spawner;
  if (argc != 0) {
    dprintf(2, "usage: berth-shim spawn\n");
    return 64;
  }
  // What the daemon was started with and has handed down unknowingly.
  close_fds_from(LIFE);
  if (dup2(2, LIFE) < 0) return complain("stderr", errno);
  if (chdir("/") < 0) return complain("/", errno);
  // It ends with the daemon, by its requests: a signal to all of a service would end the programs of a daemon that still serves. A file
  // that may not grow is an errno. Programs find all of them as they should be.
  static const int ignored[] = {SIGPIPE, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGXFSZ};
  for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++) signal(ignored[i], SIG_IGN);
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child, NULL);
  spawner.children = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
  if (spawner.children < 0) return complain("signalfd", errno);
  spawner.epoll = epoll_create1(EPOLL_CLOEXEC);
  if (spawner.epoll < 0) return complain("epoll", errno);
  // Its words are the arguments of what is forked.
  spawner.requests = map_pages(MAX_REQUEST_BYTES);
  if (spawner.requests == NULL) return complain("memory", errno);
  set_nonblocking(REQUESTS);
  if (!watch_readable(&spawner, REQUESTS, WATCH_REQUESTS)) return complain("stdin", errno);
  if (!watch_readable(&spawner, spawner.children, WATCH_CHILDREN)) return complain("signalfd", errno);
  serve(&spawner);
  return 0;
}
