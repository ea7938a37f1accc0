// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ring/split_driver_queue.h"
#include "testing/driver_queue_fixture.h"
#include "testing/fake_device.h"

namespace airlock::testing {

class SplitDriverFixture
    : public DriverQueueFixture<ring::SplitDriverQueue, FakeDevice, ring::Format::kSplit, 8, 4> {
 protected:
  using DriverQueueFixture::DriverQueueFixture;
};

}  // namespace airlock::testing
