// Descriptors that go along with a message of a Unix socket.
#ifndef BERTH_DESCRIPTORS_H
#define BERTH_DESCRIPTORS_H

#include <stddef.h>
#include <sys/types.h>

// As many as the largest message of ours has: the one that begins init's program.
#define MAX_DESCRIPTORS 6u

// Sends the message with `count` descriptors, at most MAX_DESCRIPTORS; what sendmsg gives.
ssize_t send_descriptors(int socket, const void *data, size_t bytes, const int *fds, size_t count, int flags);
// Receives a message that should have `count` descriptors; what recvmsg gives. `fds[0]` is -1 unless exactly so many came.
ssize_t receive_descriptors(int socket, void *data, size_t bytes, int *fds, size_t count, int flags);

#endif
