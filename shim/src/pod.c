// `berth-shim pod` and `pause`: a pod's namespaces, pinned as files, and the one process that a shared pid namespace needs.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim.h"
#include "util.h"

#define MAX_SYSCTLS 256
#define MAX_PINS 5
// What other runtimes give a pod; programs that need more mount a memory volume there.
#define SHM_OPTIONS "mode=1777,size=65536k"

struct pod {
  const char *directory, *hostname;
  bool net, ipc, uts, loopback, shm;
  const char *sysctls[MAX_SYSCTLS];
  unsigned sysctl_count;
  const char *pinned[MAX_PINS];
  unsigned pin_count;
};

static int pin(struct pod *pod, const char *name, pid_t pid) {
  char from[64], to[PATH_MAX];
  if (pid == 0) snprintf(from, sizeof from, "/proc/self/ns/%s", name);
  else snprintf(from, sizeof from, "/proc/%d/ns/%s", (int)pid, name);
  if (snprintf(to, sizeof to, "%s/%s", pod->directory, name) >= (int)sizeof to) return complain(pod->directory, ENAMETOOLONG);
  int fd = open(to, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
  if (fd < 0 && errno != EEXIST) return complain(to, errno);
  if (fd >= 0) close(fd);
  if (mount(from, to, NULL, MS_BIND, NULL) < 0) return complain(to, errno);
  pod->pinned[pod->pin_count++] = name;
  return 0;
}

// Here rather than in a mount(8) of its own: one process less for every pod.
static int mount_shm(struct pod *pod) {
  char path[PATH_MAX];
  if (snprintf(path, sizeof path, "%s/shm", pod->directory) >= (int)sizeof path) return complain(pod->directory, ENAMETOOLONG);
  if (mkdir(path, 01777) < 0 && errno != EEXIST) return complain(path, errno);
  if (mount("shm", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, SHM_OPTIONS) < 0) return complain(path, errno);
  pod->pinned[pod->pin_count++] = "shm";
  return 0;
}

static void unpin_all(struct pod *pod) {
  while (pod->pin_count > 0) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", pod->directory, pod->pinned[--pod->pin_count]);
    umount2(path, MNT_DETACH);
    if (unlink(path) < 0) rmdir(path);
  }
}

static int raise_loopback(void) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return complain("lo", errno);
  struct ifreq request = {.ifr_name = "lo"};
  int error = ioctl(fd, SIOCGIFFLAGS, &request) < 0 ? errno : 0;
  request.ifr_flags |= IFF_UP;
  if (error == 0 && ioctl(fd, SIOCSIFFLAGS, &request) < 0) error = errno;
  close(fd);
  return error == 0 ? 0 : complain("lo", error);
}

// `net.ipv4.ip_forward=1`: dots are slashes below /proc/sys, and nothing leads out of there.
static int set_sysctl(const char *setting) {
  char path[512] = "/proc/sys/";
  size_t length = strlen(path);
  const char *equals = strchr(setting, '=');
  if (equals == NULL || equals == setting) return complain(setting, EINVAL);
  for (const char *p = setting; p < equals; p++) {
    bool good = (*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '_' || *p == '-' || *p == '.' || *p == '/';
    char c = *p == '.' ? '/' : *p;
    if (!good || length + 1 >= sizeof path || (c == '/' && path[length - 1] == '/')) return complain(setting, EINVAL);
    path[length++] = c;
  }
  path[length] = 0;
  int error = write_text(path, equals + 1);
  return error == 0 ? 0 : complain(setting, error);
}

static int make_namespaces(struct pod *pod) {
  int flags = (pod->net ? CLONE_NEWNET : 0) | (pod->ipc ? CLONE_NEWIPC : 0) | (pod->uts ? CLONE_NEWUTS : 0);
  if (unshare(flags) < 0) return complain("unshare", errno);
  if (pod->hostname != NULL && !pod->uts) return complain("a hostname needs --uts", EINVAL);
  if (pod->hostname != NULL && sethostname(pod->hostname, strlen(pod->hostname)) < 0) return complain("hostname", errno);
  if (pod->loopback && !pod->net) return complain("--lo needs --net", EINVAL);
  if (pod->loopback && raise_loopback() != 0) return 1;
  for (unsigned i = 0; i < pod->sysctl_count; i++) {
    if (set_sysctl(pod->sysctls[i]) != 0) return 1;
  }
  if (pod->net && pin(pod, "net", 0) != 0) return 1;
  if (pod->ipc && pin(pod, "ipc", 0) != 0) return 1;
  if (pod->uts && pin(pod, "uts", 0) != 0) return 1;
  if (pod->shm && mount_shm(pod) != 0) return 1;
  return 0;
}

// Pid 1 of the shared namespace: reaps, for ever.
static _Noreturn void reap(int pinned) {
  setsid();
  // Who killed us off before that would never find this process.
  char byte;
  if (read(pinned, &byte, 1) != 1) _exit(1);
  close_everything_but(-1);
  if (chdir("/") < 0) _exit(1);
  prctl(PR_SET_NAME, "berth-pause");
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  for (;;) {
    while (waitpid(-1, NULL, WNOHANG) > 0) continue;
    sigwaitinfo(&child, NULL);
  }
}

static int start_pause(struct pod *pod) {
  if (unshare(CLONE_NEWPID) < 0) return complain("unshare", errno);
  // Its end would be that of all in the namespace. It has this from us, who end at once.
  write_text("/proc/self/oom_score_adj", SHIM_OOM_SCORE);
  int pinned[2];
  if (pipe(pinned) < 0) return complain("pipe", errno);
  pid_t pid = fork();
  if (pid < 0) return complain("fork", errno);
  if (pid == 0) {
    close(pinned[1]);
    reap(pinned[0]);
  }
  close(pinned[0]);
  if (pin(pod, "pid", pid) != 0) {
    kill(pid, SIGKILL);
    return 1;
  }
  int error = write_all(pinned[1], "", 1);
  if (error != 0) return complain("pause", error);
  dprintf(1, "%d\n", (int)pid);
  return 0;
}

static int parse(struct pod *pod, int argc, char **argv) {
  for (int i = 0; i < argc; i++) {
    const char *option = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
    if (strcmp(option, "--net") == 0) pod->net = true;
    else if (strcmp(option, "--ipc") == 0) pod->ipc = true;
    else if (strcmp(option, "--uts") == 0) pod->uts = true;
    else if (strcmp(option, "--lo") == 0) pod->loopback = true;
    else if (strcmp(option, "--shm") == 0) pod->shm = true;
    else if (value == NULL) return complain(option, EINVAL);
    else if (i++, strcmp(option, "--dir") == 0) pod->directory = value;
    else if (strcmp(option, "--hostname") == 0) pod->hostname = value;
    else if (strcmp(option, "--cgroup") == 0) cgroup_join(value);
    else if (strcmp(option, "--sysctl") == 0 && pod->sysctl_count < MAX_SYSCTLS) pod->sysctls[pod->sysctl_count++] = value;
    else return complain(option, EINVAL);
  }
  if (pod->directory == NULL || pod->directory[0] != '/') return complain("--dir takes an absolute path", EINVAL);
  return 0;
}

int pod_main(int argc, char **argv, bool pause) {
  static struct pod pod;
  if (parse(&pod, argc, argv) != 0) return 64;
  if (make_namespaces(&pod) == 0 && (!pause || start_pause(&pod) == 0)) return 0;
  unpin_all(&pod);
  return 1;
}
