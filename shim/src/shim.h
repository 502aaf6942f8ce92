// Everything that one shim holds, and the steps of its life. One thread, one loop (loop.c); nothing here blocks on a peer.
#ifndef BERTH_SHIM_H
#define BERTH_SHIM_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "config.h"
#include "frame.h"
#include "log.h"
#include "ring.h"

// Input that the container has not taken; also the credit that a daemon starts with.
#define STDIN_QUEUE (256u * 1024)
// Credit goes back in lumps: a keystroke must not cost a frame. A writer that has used nothing always finds three quarters.
#define STDIN_CREDIT_LUMP (64u * 1024)
// Connections that have not said HELLO yet, and how long they may take.
#define MAX_WAITING 16
#define HELLO_MS 5000u
// Replies and notices that the daemon has not taken. Requests are not read while there is less room than one answer needs.
#define CONTROL_QUEUE 8192u
#define CONTROL_SPARE 512u
// LOG_LOSS comes at most this often.
#define LOSS_MS 1000u
// After the end the shim stays for a connected daemon this long since its last progress.
#define LINGER_MS 60000u
// A program may end before the daemon that started it has connected: its output and end wait this long for the first connection.
#define FIRST_MS 5000u
// LXC's monitor has its hooks and cgroups to do after init's end; longer than this it is stuck.
#define MONITOR_END_MS 10000u
// How long killing and removing what is left of the cgroups is tried.
#define CGROUP_END_MS 5000u
// Words of LXC kept for the error message of a start.
#define LXC_WORDS 2048u
// Big buffers that were not used for this long are given back.
#define IDLE_MS 1000u
// Every pipe begins with what the kernel gives, and goes back to it: a user's pipes have 64 MiB in all (pipe(7)), and who is over it, such
// as root in any container, gets the smallest.
#define QUIET_PIPE_BYTES (64 * 1024)
// A terminal that nobody has open, and one that does not say when it takes input again, are looked at this often.
#define TTY_POLL_MS 50u
// What a container leaves in its two pipes, of the size that we make them; what is in larger ones is waited for.
#define LEFT_IN_PIPES (2u * 1024 * 1024)

// Like other runtimes' shims and pauses: containers go before what keeps them when memory is short. Needs a capability; without it: as we are.
#define SHIM_OOM_SCORE "-998"

// What the trampoline says when it cannot execute the program: its step and errno, little-endian.
#define STATUS_BYTES 5u
enum status_step { STATUS_NOT_FOUND = 1, STATUS_NOT_EXECUTABLE, STATUS_CWD, STATUS_SYSTEM, STATUS_SECCOMP, STATUS_TERMINAL };
// What the trampoline gets along with its one byte: status pipe, specification, seccomp filter, stdin, stdout, stderr.
#define HANDSHAKE_FDS 6

enum stdin_state { STDIN_NONE = 0, STDIN_OPEN = 1, STDIN_CLOSED = 2 };
enum phase { PHASE_STARTING, PHASE_RUNNING, PHASE_ENDING, PHASE_ENDED };
enum exit_kind { EXIT_EXITED = 0, EXIT_SIGNALED = 1, EXIT_UNKNOWN = 2 };

// One of the container's outputs: a pipe's end or the pty's master.
struct source {
  int fd;
  uint8_t stream;
  bool armed;        // in the epoll set
  bool ended;        // EOF
  int grown;         // the pipe's size, made by us; -1: it has one of its own
  uint64_t retry_at; // terminal that nobody has open: when to look again
};

struct stdin_queue {
  int fd;
  uint8_t state;
  bool close_asked;
  bool armed;
  int grown;            // as in `struct source`
  unsigned full;        // times that the pipe has been full, or that it was watched anew, since `look_at` was set
  uint64_t look_at;     // whether it is still busy; 0: nothing to look at
  uint64_t close_by;    // stdin is closed although its pipe is large
  uint8_t *buffer;
  uint32_t head, bytes;
  uint32_t returnable;  // taken by the container, credit not returned yet
  uint64_t retry_at;
  bool by_time;         // a hung up terminal: asked again by time only
};

// A connection that has not said HELLO.
struct waiting {
  int fd;
  uint32_t have;
  uint8_t bytes[FRAME_HEADER + FRAME_MAX_REQUEST];
  uint64_t deadline;
};

// The daemon.
struct connection {
  int fd;
  uint32_t events;  // as told to epoll
  struct frame_parser parser;
  uint32_t credit;  // that this daemon may still use
  uint8_t *control;
  uint32_t control_bytes;
  // A frame of which the socket took only a part.
  uint8_t part_head[FRAME_OUTPUT_HEAD];
  uint32_t part_head_left;
  const uint8_t *part;
  uint32_t part_left;
  uint8_t *stash;  // the part's data when the ring has moved over it
  // The subscription.
  bool subscribed, behind, exit_sent, closing;
  uint64_t cursor, acked;
  uint64_t gap_from, gap_to;  // the newest range that was announced as missing and is not behind `acked` yet
  uint32_t window;
  uint32_t position;  // record of the cursor, RING_NONE at the end
  uint64_t progress_at, loss_told_at;
};

struct shim {
  struct config config;
  enum phase phase;
  int epoll, signals, listener, report;
  char *text_pages;  // the configuration as it was read, until init has it
  size_t text_pages_bytes;
  uint64_t now;  // monotonic ms, once per turn of the loop
  // LXC's side.
  pid_t monitor, init, mover;
  char *oom_score;
  int init_pidfd, fifo, words, handshake, status;
  char fifo_path[PATH_MAX];
  char text[LXC_WORDS];
  uint32_t text_bytes;
  int64_t log_start;
  bool monitor_ended, running_seen, exec_ended, exec_failed;
  uint64_t running_deadline;
  uint8_t status_bytes[STATUS_BYTES];
  uint32_t status_have;
  int wait_status;
  char slave_path[64];
  int child_stdio[3];  // init's ends, until the trampoline has them
  uint64_t begun_ns;  // when the program was about to be executed
  uint64_t started_ns, finished_ns;
  bool exit_seen, start_failed;
  char failure_kind[16], failure[LXC_WORDS];
  uint64_t ended_at, drain_deadline, stepped_at, record_failed_at, record_retry_at;
  bool cgroups_empty;
  const char *reason;
  struct exit_frame exit;
  // The streams.
  struct source out, err;
  struct stdin_queue in;
  struct ring ring;
  struct log_file log;
  uint64_t busy_at;
  bool big_buffers;
  bool held;  // output is not read: the subscriber is in the way
  uint8_t *input;
  struct connection conn;
  struct waiting waiting[MAX_WAITING];
  bool crowded;   // nobody is accepted until one of those that wait has said HELLO
  bool welcomed;  // some daemon has been here
  unsigned execs;  // programs besides init that have been forked off and not ended
  bool exec;       // this is such a fork: `init` is its program
  bool done;
};

// run.c: `berth-shim run`.
int run_main(void);

// loop.c
enum watch { WATCH_SIGNALS, WATCH_LISTENER, WATCH_FIFO, WATCH_WORDS, WATCH_HANDSHAKE, WATCH_STATUS, WATCH_REPORT, WATCH_OUT, WATCH_ERR, WATCH_IN, WATCH_CONN, WATCH_WAITING };
void watch(struct shim *shim, int fd, uint32_t events, uint32_t what);
void unwatch(struct shim *shim, int fd);
// What the loop needs before anything can be watched; children's ends wait for it from here on. 0 or an errno.
int loop_open(struct shim *shim);
void loop_run(struct shim *shim);

// stdio.c: the container's streams.
int stdio_make(struct shim *shim);
void stdio_begin(struct shim *shim);
void stdio_take_terminal(struct shim *shim, int master);
void source_read(struct shim *shim, struct source *source);
void sources_update(struct shim *shim);
void stdio_watch_terminal(struct shim *shim);
bool sources_ended(const struct shim *shim);
void stdio_close(struct shim *shim);
// Nothing is busy.
void sources_rest(struct shim *shim);
// Makes a pipe larger. Its size, for `shrink_pipe`; -1 where a program has made it as large, or it may not be.
int grow_pipe(int fd, int bytes);
// Gives a pipe that is as we have made it its first size again. What it is then: 0, or `grown` while more is in it.
int shrink_pipe(int fd, int grown);

// input.c: stdin.
void input_begin(struct shim *shim);
// The pipe was full and has room: of input that the daemon writes itself this is all that is seen here.
void input_was_full(struct shim *shim);
// Time to see whether it is still full again and again.
void input_look(struct shim *shim);
// Nothing is queued, and nothing more is to come.
void input_finish(struct shim *shim);
void input_take(struct shim *shim, const uint8_t *data, size_t bytes);
void input_write(struct shim *shim);
void input_close(struct shim *shim, uint8_t reason);
// Where the daemon may write input itself: only while nothing is queued here.
void input_offer(const struct shim *shim, uint32_t *fd, uint64_t *inode);
uint32_t input_unread(const struct shim *shim);

// start.c: lxc-start and the handshake with the trampoline.
int start_lxc(struct shim *shim, const char **what);
void start_handshake(struct shim *shim);
void start_abandon(struct shim *shim, const char *why);
void start_status(struct shim *shim);
void start_words(struct shim *shim);
void start_check(struct shim *shim);

// report.c: the one line that says how the start went.
void report_ok(struct shim *shim);
void report_error(struct shim *shim, const char *kind, const char *text);
void report_lxc(struct shim *shim);

// monitor.c: what LXC's monitor says.
int monitor_open(struct shim *shim);
void monitor_read(struct shim *shim);
void monitor_reap(struct shim *shim);
void monitor_clean(struct shim *shim);

// ending.c: from init's end to the record.
void ending_begin(struct shim *shim, uint64_t finished_ns);
void ending_step(struct shim *shim);
// Whether EXIT may be sent: the record is kept, or has been waited for long enough.
bool ending_told(const struct shim *shim);
// record.c
int record_write(const char *path, const struct exit_frame *exit, const char *reason);

// server.c: listening and HELLO; connection.c: requests; output.c: what the daemon gets.
int server_listen(struct shim *shim);
void server_accept(struct shim *shim);
void server_hello(struct shim *shim, unsigned index);
void server_expire(struct shim *shim);
void connection_open(struct shim *shim, int fd);
void connection_close(struct shim *shim);
void connection_input(struct shim *shim);
void output_control(struct shim *shim, const uint8_t *frame, size_t bytes);
void output_subscribe(struct shim *shim, uint64_t from, uint32_t window);
void output_ack(struct shim *shim, uint64_t offset);
void output_committed(struct shim *shim, uint32_t position, uint64_t before);
bool output_release(struct shim *shim, const struct ring_record *record, const uint8_t *data);
bool output_waits(const struct shim *shim);
// A loss of the log is to be told, and there is room for that.
bool output_may_tell(const struct shim *shim);
void output_flush(struct shim *shim);
void output_late(struct shim *shim);

// exec.c: programs besides init.
void exec_begin(struct shim *shim, int fd);
void exec_status(struct shim *shim);
void exec_reap(struct shim *shim);
void exec_kill(struct shim *shim);

// cgroup.c
void cgroup_join(const char *directory);
void cgroup_move(const char *directory, pid_t pid);
// Joins a container's cgroup, or the one below it that its init has gone into. 0 or an errno.
int cgroup_enter(const char *directory, pid_t init);
int cgroup_signal(const char *directory, int signal);
void cgroup_thaw(const char *directory);
bool cgroup_kill(const char *directory);
bool cgroup_kill_session(const char *directory, pid_t session);
bool cgroup_remove(const char *directory);
bool cgroup_oom(const char *directory);

// The other faces of the program.
int trampoline_main(int argc, char **argv);
int pod_main(int argc, char **argv, bool pause);
int oom_hook_main(int argc, char **argv);
int overlay_main(int argc, char **argv);
int bind_main(int argc, char **argv);
int node_main(int argc, char **argv);
int dial_main(int argc, char **argv);
int spawn_main(int argc);

#endif
