// What the tests in C share: a check that says where it failed and at what, and random numbers that a seed repeats.
#ifndef BERTH_TEST_CHECK_H
#define BERTH_TEST_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) {                                                         \
      fprintf(stderr, "%s:%d: not true: %s (%s)\n", __FILE__, __LINE__, #condition, current); \
      exit(1);                                                                  \
    }                                                                           \
  } while (0)

static const char *current = "";
static uint64_t seed = 88172645463325252u;

static inline uint32_t chance(uint32_t below) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return (uint32_t)(seed >> 20) % below;
}

#endif
