// The newest output of the container: records of one stream each, in the order in which they were read.
#include "ring.h"

#include <stddef.h>
#include <string.h>

#include "util.h"

bool ring_init(struct ring *ring, uint32_t size) {
  memset(ring, 0, sizeof *ring);
  ring->buffer = map_buffer(size);
  ring->size = size;
  ring->last = RING_NONE;
  return ring->buffer != NULL;
}

struct ring_record ring_at(const struct ring *ring, uint32_t position) {
  struct ring_record record;
  memcpy(&record, ring->buffer + position, sizeof record);
  return record;
}

const uint8_t *ring_data(const struct ring *ring, uint32_t position) { return ring->buffer + position + RING_RECORD_HEAD; }

uint32_t ring_after(const struct ring *ring, uint32_t position) {
  if (position == ring->last) return RING_NONE;
  uint32_t after = position + RING_RECORD_HEAD + ring_at(ring, position).bytes;
  if (ring->wrapped && after == ring->end) return 0;
  return after;
}

uint32_t ring_find(const struct ring *ring, uint64_t offset) {
  if (ring->last == RING_NONE || offset < ring->first || offset >= ring->next) return RING_NONE;
  uint32_t position = ring->head;
  for (;;) {
    struct ring_record record = ring_at(ring, position);
    if (offset < record.offset + record.bytes) return position;
    position = ring_after(ring, position);
  }
}

static bool evict_head(struct ring *ring, ring_evict *evict, void *context) {
  struct ring_record record = ring_at(ring, ring->head);
  if (!evict(context, &record, ring_data(ring, ring->head))) return false;
  ring->first = record.offset + record.bytes;
  if (ring->head == ring->last) {
    ring->last = RING_NONE;
    ring->head = ring->tail = 0;
    ring->wrapped = false;
    return true;
  }
  ring->head += RING_RECORD_HEAD + record.bytes;
  if (ring->wrapped && ring->head == ring->end) {
    ring->head = 0;
    ring->wrapped = false;
  }
  return true;
}

static uint32_t contiguous(const struct ring *ring) {
  uint32_t free_bytes = (ring->wrapped ? ring->head : ring->size) - ring->tail;
  return free_bytes > RING_RECORD_HEAD ? free_bytes - RING_RECORD_HEAD : 0;
}

uint32_t ring_reserve(struct ring *ring, uint32_t want, uint8_t **space, ring_evict *evict, void *context) {
  // Records start at multiples of nothing: `ring_at` copies them out. The loop ends as every turn gives up a record or the buffer's end.
  for (;;) {
    uint32_t room = contiguous(ring);
    if (room >= want || (!ring->wrapped && room >= RING_MIN_READ)) {
      *space = ring->buffer + ring->tail + RING_RECORD_HEAD;
      return room < want ? room : want;
    }
    if (!ring->wrapped) {
      if (ring->last == RING_NONE) {
        ring->head = ring->tail = 0;
        continue;
      }
      ring->end = ring->tail;
      ring->tail = 0;
      ring->wrapped = true;
      continue;
    }
    if (!evict_head(ring, evict, context)) {
      *space = ring->buffer + ring->tail + RING_RECORD_HEAD;
      return room >= RING_MIN_READ ? room : 0;
    }
  }
}

uint32_t ring_commit(struct ring *ring, uint8_t stream, uint32_t bytes) {
  if (ring->last != RING_NONE && bytes <= RING_JOIN_BYTES) {
    struct ring_record last = ring_at(ring, ring->last);
    uint32_t last_end = ring->last + RING_RECORD_HEAD + last.bytes;
    if (last.stream == stream && last.bytes + bytes <= RING_JOINED_MOST && last_end == ring->tail) {
      memmove(ring->buffer + last_end, ring->buffer + last_end + RING_RECORD_HEAD, bytes);
      last.bytes += bytes;
      memcpy(ring->buffer + ring->last, &last, sizeof last);
      ring->tail += bytes;
      ring->next += bytes;
      return ring->last;
    }
  }
  struct ring_record record = {.bytes = bytes, .stream = stream, .offset = ring->next};
  uint32_t position = ring->tail;
  memcpy(ring->buffer + position, &record, sizeof record);
  ring->tail += RING_RECORD_HEAD + bytes;
  ring->next += bytes;
  ring->last = position;
  return position;
}
