// The two inner loops of the log, faster than a small libc's: one line of 80 bytes must not cost two slow calls.
#ifndef BERTH_BYTES_H
#define BERTH_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>

// Like memchr for '\n'; never reads outside of the bytes.
static inline const uint8_t *find_newline(const uint8_t *p, size_t bytes) {
  const __m128i newline = _mm_set1_epi8('\n');
  for (; bytes >= 64; p += 64, bytes -= 64) {
    const __m128i *v = (const __m128i *)(const void *)p;
    __m128i a = _mm_cmpeq_epi8(_mm_loadu_si128(v), newline), b = _mm_cmpeq_epi8(_mm_loadu_si128(v + 1), newline);
    __m128i c = _mm_cmpeq_epi8(_mm_loadu_si128(v + 2), newline), d = _mm_cmpeq_epi8(_mm_loadu_si128(v + 3), newline);
    if (_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d))) == 0) continue;
    uint64_t mask = (uint64_t)(uint32_t)_mm_movemask_epi8(a) | (uint64_t)(uint32_t)_mm_movemask_epi8(b) << 16 |
                    (uint64_t)(uint32_t)_mm_movemask_epi8(c) << 32 | (uint64_t)(uint32_t)_mm_movemask_epi8(d) << 48;
    return p + __builtin_ctzll(mask);
  }
  for (; bytes > 0; p++, bytes--) {
    if (*p == '\n') return p;
  }
  return NULL;
}

// Like memcpy, for lines.
static inline void copy_line(uint8_t *to, const uint8_t *from, size_t bytes) {
  if (bytes < 16 || bytes > 512) {
    if (bytes > 0) memcpy(to, from, bytes);
    return;
  }
  for (size_t at = 0; at + 16 <= bytes; at += 16) {
    _mm_storeu_si128((__m128i *)(void *)(to + at), _mm_loadu_si128((const __m128i *)(const void *)(from + at)));
  }
  // The rest overlaps with what is there already.
  _mm_storeu_si128((__m128i *)(void *)(to + bytes - 16), _mm_loadu_si128((const __m128i *)(const void *)(from + bytes - 16)));
}
#else
static inline const uint8_t *find_newline(const uint8_t *p, size_t bytes) { return memchr(p, '\n', bytes); }
static inline void copy_line(uint8_t *to, const uint8_t *from, size_t bytes) {
  if (bytes > 0) memcpy(to, from, bytes);
}
#endif

#endif
