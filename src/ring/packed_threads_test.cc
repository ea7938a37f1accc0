// SPDX-License-Identifier: Apache-2.0
//
// Goal: a driver and a device on two threads exchange requests through a packed queue without a
// race (run under tsan), and neither sleeps while the other has work for it. Method:
// testing::QueueThreads.
#include <gtest/gtest.h>

#include "ring/packed_device_queue.h"
#include "ring/packed_driver_queue.h"
#include "testing/queue_threads.h"

namespace airlock::ring {
namespace {

using PackedThreads = testing::QueueThreads<PackedDriverQueue, PackedDeviceQueue>;

INSTANTIATE_TEST_SUITE_P(Rings, PackedThreads, testing::thread_params(Format::kPacked),
                         testing::thread_param_name);

// HD-22; VIRTIO 1.3, 2.8.10, 2.8.21.1, 2.8.21.2, 2.8.22.
TEST_P(PackedThreads, ExchangeRequestsWithoutARaceOrALostWakeup) {
  exchange();
}

}  // namespace
}  // namespace airlock::ring
