// Where in which log file the container's bytes are: segments (one file, no hole) and, in them, a position per MiB. Bounded.
#include "logindex.h"

#include <string.h>

static void drop_segment(struct log_index *index, uint32_t at) {
  uint32_t number = index->segments_dropped + at;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < index->position_count; i++) {
    struct index_position position = index->positions[i];
    if (position.segment == number) continue;
    // Segments are numbered by their place: those behind the dropped one move up, unless it is the oldest, which is counted instead.
    if (at > 0 && position.segment > number) position.segment--;
    index->positions[kept++] = position;
  }
  index->position_count = kept;
  memmove(index->segments + at, index->segments + at + 1, (index->segment_count - at - 1) * sizeof *index->segments);
  index->segment_count--;
  if (at == 0) index->segments_dropped++;
}

// Every second position that is not a segment's beginning goes: at least one does, as there are fewer segments than positions.
static void thin(struct log_index *index) {
  uint32_t kept = 0, seen = 0;
  for (uint32_t i = 0; i < index->position_count; i++) {
    if (!index->positions[i].first && seen++ % 2 == 0) continue;
    index->positions[kept++] = index->positions[i];
  }
  index->position_count = kept;
}

static void add_position(struct log_index *index, uint64_t offset, uint64_t position, uint32_t first) {
  if (index->position_count == INDEX_POSITIONS) thin(index);
  index->positions[index->position_count++] = (struct index_position){
      .offset = offset,
      .position = position,
      .segment = index->segments_dropped + index->segment_count - 1,
      .first = first,
  };
}

void index_begin(struct log_index *index, uint64_t offset, uint64_t inode, uint64_t device, uint64_t position) {
  // A segment into which nothing was written says nothing.
  if (index->segment_count > 0) {
    struct index_segment *last = &index->segments[index->segment_count - 1];
    if (last->begin == last->end) drop_segment(index, index->segment_count - 1);
  }
  if (index->segment_count == INDEX_SEGMENTS) drop_segment(index, 0);
  index->segments[index->segment_count++] =
      (struct index_segment){.begin = offset, .end = offset, .inode = inode, .device = device, .bytes = position};
  add_position(index, offset, position, 1);
}

void index_mark(struct log_index *index, uint64_t offset, uint64_t position) {
  if (index->position_count == 0) return;
  if (offset - index->positions[index->position_count - 1].offset >= INDEX_STEP) add_position(index, offset, position, 0);
}

void index_extend(struct log_index *index, uint64_t offset, uint64_t position) {
  if (index->segment_count == 0) return;
  index->segments[index->segment_count - 1].end = offset;
  index->segments[index->segment_count - 1].bytes = position;
}

uint64_t index_bytes(const struct log_index *index, uint64_t inode, uint64_t device) {
  for (uint32_t i = index->segment_count; i-- > 0;) {
    if (index->segments[i].inode == inode && index->segments[i].device == device) return index->segments[i].bytes;
  }
  return 0;
}

void index_forget(struct log_index *index, uint64_t inode, uint64_t device) {
  for (uint32_t i = index->segment_count; i-- > 0;) {
    if (index->segments[i].inode == inode && index->segments[i].device == device) drop_segment(index, i);
  }
}

void index_locate(const struct log_index *index, uint64_t offset, uint64_t limit, struct location *location) {
  memset(location, 0, sizeof *location);
  uint64_t found = limit;
  for (uint32_t i = 0; i < index->segment_count; i++) {
    const struct index_segment *segment = &index->segments[i];
    if (offset >= segment->end) continue;
    if (offset < segment->begin) {
      if (segment->begin < found) found = segment->begin;
      break;
    }
    location->kind = 1;
    location->end = segment->end;
    location->inode = segment->inode;
    location->device = segment->device;
    for (uint32_t k = 0; k < index->position_count; k++) {
      const struct index_position *position = &index->positions[k];
      if (position->segment != index->segments_dropped + i || position->offset > offset) continue;
      location->first = position->offset;
      location->position = position->position;
    }
    return;
  }
  location->kind = 3;
  location->first = offset;
  location->end = found;
}
