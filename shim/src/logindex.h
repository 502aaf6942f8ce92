// Where in which log file the container's bytes are: segments (one file, no hole) and, in them, a position per MiB. Bounded.
#ifndef BERTH_LOGINDEX_H
#define BERTH_LOGINDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "frame.h"

// 512 positions of 24 bytes cover 512 MiB exactly and, thinned, any length with a coarser step.
#define INDEX_POSITIONS 512u
// Files and holes that are remembered, the oldest goes first: the daemon keeps up to 256 files open for sessions that are behind (log-files.ts),
// whatever kubelet has kept of them. Fewer than positions.
#define INDEX_SEGMENTS 320u
// A reader that starts at the nearest position skips at most this much, and what was written at once (LOG_BATCH).
#define INDEX_STEP (1024u * 1024)

struct index_segment {
  uint64_t begin, end;  // offsets; `end` exclusive
  uint64_t inode, device;
  uint64_t bytes;  // the file has been written up to here
};

struct index_position {
  uint64_t offset, position;
  uint32_t segment;  // counted from the container's start
  uint32_t first;    // 1: the segment's beginning, never thinned
};

// What few files need lies together: the rest of the segments is memory that is never touched.
struct log_index {
  uint32_t segment_count, position_count;
  uint32_t segments_dropped;
  struct index_position positions[INDEX_POSITIONS];
  struct index_segment segments[INDEX_SEGMENTS];
};

// A new file, or the first record after a hole.
void index_begin(struct log_index *index, uint64_t offset, uint64_t inode, uint64_t device, uint64_t position);
// Records from `offset` on are about to be written at `position`.
void index_mark(struct log_index *index, uint64_t offset, uint64_t position);
// The log holds everything below `offset` now, in a file that has been written up to `position`.
void index_extend(struct log_index *index, uint64_t offset, uint64_t position);
// How far this file has been written, 0 when it is not known.
uint64_t index_bytes(const struct log_index *index, uint64_t inode, uint64_t device);
// What was written to this file is not there any more (somebody truncated it, or it was deleted and its inode is another file's).
void index_forget(struct log_index *index, uint64_t inode, uint64_t device);
// Kind 1 or 3 for an offset below `limit`, where what is lost ends at the latest.
void index_locate(const struct log_index *index, uint64_t offset, uint64_t limit, struct location *location);

#endif
