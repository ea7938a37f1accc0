// SPDX-License-Identifier: Apache-2.0
//
// Goal: a driver and a device on two threads exchange requests without a race (run under tsan), and
// neither sleeps while the other has work for it; in both formats, with flags, with events and with
// every feature. Method: testing::QueueThreads.
#include <gtest/gtest.h>

#include "ring/device_queue.h"
#include "ring/driver_queue.h"
#include "testing/queue_threads.h"

namespace airlock::ring {
namespace {

using RingThreads = testing::QueueThreads<DriverQueue, DeviceQueue>;

INSTANTIATE_TEST_SUITE_P(Split, RingThreads, testing::thread_params(Format::kSplit),
                         testing::thread_param_name);
INSTANTIATE_TEST_SUITE_P(Packed, RingThreads, testing::thread_params(Format::kPacked),
                         testing::thread_param_name);

// HD-22;
// VIRTIO 1.3, 2.7.7, 2.7.7.2, 2.7.10, 2.7.13.3.1, 2.7.13.4.1, 2.8.10, 2.8.21.1, 2.8.21.2, 2.8.22.
TEST_P(RingThreads, ExchangeRequestsWithoutARaceOrALostWakeup) {
  exchange();
}

}  // namespace
}  // namespace airlock::ring
