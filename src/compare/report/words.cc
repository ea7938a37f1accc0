// SPDX-License-Identifier: Apache-2.0
#include "compare/report/words.h"

namespace airlock::compare {

namespace {

constexpr WorkloadWords kDiskWords{
    .request = "request",
    .requests = "requests",
    .reads = "reads",
    .writes = "writes",
    .read = "read",
    .write = "write",
    .reads_of = "Reads of",
    .writes_of = "Writes of",
    .behind = "disk",
    .ran = "the same random requests, through the same rings to the same disk in memory",
    .own_copy = "the disk's own copy",
    .timed = "From the request to its completion.",
    .in_sight =
        "0 is nothing, 1 exactly what was asked for. More is somebody else's: a model that "
        "shares whole pages shows 4 KiB for a request of 512 bytes (8 for each), and one "
        "without any protection all of the guest. A read shows what its buffer held "
        "before. Sealed bytes (region-aes, region-chacha) are not in sight: but the device "
        "has the key, and sees what it opens."};

constexpr WorkloadWords kFrameWords{
    .request = "frame",
    .requests = "frames",
    .reads = "received",
    .writes = "sent",
    .read = "received",
    .write = "sent",
    .reads_of = "Received frames of",
    .writes_of = "Sent frames of",
    .behind = "wire",
    .ran =
        "the same frames, both ways through the same rings of the same network card at a wire "
        "in memory",
    .own_copy = "the card's own copy",
    .timed =
        "From the driver's giving its buffer away until it has it back; a frame to be "
        "received is waiting for it.",
    .in_sight =
        "0 is nothing, 1 exactly the frame. More is somebody else's: a model that shares "
        "whole pages shows 4 KiB for a frame of 64 bytes (64 for each), and one without "
        "any protection all of the guest. A buffer for a frame shows what it held before."};

}  // namespace

const WorkloadWords& words_for(std::string_view workload) {
  return workload == "net" ? kFrameWords : kDiskWords;
}

}  // namespace airlock::compare
