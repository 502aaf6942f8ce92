// berth-shim: one small program with several faces. See PROTOCOL.md.
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shim.h"

#define VERSION "0.1.0"

static const char USAGE[] =
    "usage: berth-shim run | init | pod | pause | oom-hook | overlay | bind | node | dial | spawn | version\n"
    "Started by berthd; shim/PROTOCOL.md says what each takes.\n";

int main(int argc, char **argv) {
  const char *face = argc > 1 ? argv[1] : "";
  if (strcmp(face, "run") == 0 && argc == 2) return run_main();
  if (strcmp(face, "init") == 0) return trampoline_main(argc - 2, argv + 2);
  if (strcmp(face, "pod") == 0) return pod_main(argc - 2, argv + 2, false);
  if (strcmp(face, "pause") == 0) return pod_main(argc - 2, argv + 2, true);
  if (strcmp(face, "oom-hook") == 0) return oom_hook_main(argc - 2, argv + 2);
  if (strcmp(face, "overlay") == 0) return overlay_main(argc - 2, argv + 2);
  if (strcmp(face, "bind") == 0) return bind_main(argc - 2, argv + 2);
  if (strcmp(face, "node") == 0) return node_main(argc - 2, argv + 2);
  if (strcmp(face, "dial") == 0) return dial_main(argc - 2, argv + 2);
  if (strcmp(face, "spawn") == 0) return spawn_main(argc - 2);
  if (strcmp(face, "version") == 0) {
    dprintf(1, "berth-shim %s, protocol %u\n", VERSION, FRAME_VERSION);
    return 0;
  }
  dprintf(2, "%s", USAGE);
  return 64;
}
