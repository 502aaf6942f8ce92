// Giving capabilities up, for programs and for ourselves.
#define _GNU_SOURCE
#include "capabilities.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

bool set_capabilities(uint64_t effective, uint64_t permitted) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2] = {
      {.effective = (uint32_t)effective, .permitted = (uint32_t)permitted},
      {.effective = (uint32_t)(effective >> 32), .permitted = (uint32_t)(permitted >> 32)},
  };
  return syscall(SYS_capset, &header, data) == 0;
}

bool drop_bounding(uint64_t keep) {
  for (unsigned long capability = 0; capability < 64; capability++) {
    if (keep >> capability & 1) continue;
    int there = prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
    if (there < 0) return true;  // behind the last one that the kernel knows
    if (there == 1 && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) return false;
  }
  return true;
}

uint64_t bounding(void) {
  uint64_t set = 0;
  for (unsigned long capability = 0; capability < 64; capability++) {
    int there = prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
    if (there < 0) break;
    if (there == 1) set |= (uint64_t)1 << capability;
  }
  return set;
}
