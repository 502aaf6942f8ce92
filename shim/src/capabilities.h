// Giving capabilities up, for programs and for ourselves.
#ifndef BERTH_CAPABILITIES_H
#define BERTH_CAPABILITIES_H

#include <stdbool.h>
#include <stdint.h>

// Takes everything but `keep` out of the bounding set. False with errno: something could not be taken out.
bool drop_bounding(uint64_t keep);
// Everything that the bounding set holds: what root gets at execve.
uint64_t bounding(void);
// False with errno. What is inheritable is cleared.
bool set_capabilities(uint64_t effective, uint64_t permitted);

#endif
