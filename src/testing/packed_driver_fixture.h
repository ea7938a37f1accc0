// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ring/packed_driver_queue.h"
#include "testing/driver_queue_fixture.h"
#include "testing/fake_packed_device.h"

namespace airlock::testing {

/// Seven slots, so that what is right only for powers of two shows.
class PackedDriverFixture : public DriverQueueFixture<ring::PackedDriverQueue, FakePackedDevice,
                                                      ring::Format::kPacked, 7, 3> {
 protected:
  using DriverQueueFixture::DriverQueueFixture;
};

}  // namespace airlock::testing
