// The newest output of the container: records of one stream each, in the order in which they were read. What falls out at the old end
// is told to the owner first. Reads go straight into it, sends straight out of it.
#ifndef BERTH_RING_H
#define BERTH_RING_H

#include <stdbool.h>
#include <stdint.h>

#define RING_RECORD_HEAD 16u
// Below this a read is not worth its system call; the end of the buffer is given up for it.
#define RING_MIN_READ 4096u
// Reads up to this size are joined with the record before (one keystroke must not cost a record) while that is small.
#define RING_JOIN_BYTES 1024u
#define RING_JOINED_MOST 8192u
#define RING_NONE UINT32_MAX

struct ring_record {
  uint32_t bytes;
  uint32_t stream;
  uint64_t offset;
};

struct ring {
  uint8_t *buffer;
  uint32_t size;
  uint32_t head;  // oldest record
  uint32_t tail;  // where the next one goes
  uint32_t end;   // where the older part ends, when `wrapped`
  uint32_t last;  // newest record, RING_NONE when empty
  bool wrapped;   // records lie in [head, end) and then [0, tail); else in [head, tail)
  uint64_t first; // offset of the oldest byte held
  uint64_t next;  // offset of the next byte
};

// Asked before a record is given up; false keeps it (and may make the ring full).
typedef bool ring_evict(void *context, const struct ring_record *record, const uint8_t *data);

bool ring_init(struct ring *ring, uint32_t size);
// Room for the next read: `*space` and its size, at most `want`. 0 when records that must stay are in the way.
uint32_t ring_reserve(struct ring *ring, uint32_t want, uint8_t **space, ring_evict *evict, void *context);
// Keeps `bytes` bytes that were put into the room. Gives the position of the record that holds them.
uint32_t ring_commit(struct ring *ring, uint8_t stream, uint32_t bytes);

struct ring_record ring_at(const struct ring *ring, uint32_t position);
const uint8_t *ring_data(const struct ring *ring, uint32_t position);
// The record after `position`, RING_NONE after the last.
uint32_t ring_after(const struct ring *ring, uint32_t position);
// The record that holds `offset` (first <= offset < next).
uint32_t ring_find(const struct ring *ring, uint64_t offset);

#endif
