// SPDX-License-Identifier: Apache-2.0
//
// Goal: a disk that holds something else than was written is told from one that fails, wherever on
// the disk that is. Method: a small disk in this process that is honest, changes a sector, or
// fails.
#include "cli/blk_verifier.h"

#include <gtest/gtest.h>

#include "testing/blk_fixture.h"

namespace airlock::cli {
namespace {

class BlkVerifierTest : public testing::BlkFixture {
 protected:
  /// Flips a bit there after the last write.
  void change(std::uint64_t at) {
    disk().on_answer = [this, at](const spec::VirtioBlkReqHeader& header, auto&) {
      if (header.type.get() == spec::VIRTIO_BLK_T_FLUSH) disk().bytes[at] ^= std::byte{1};
    };
  }
  Result<std::optional<std::uint64_t>> run() {
    open();
    const BlkVerifyOptions options{
        .device = {}, .total = 1 << 20, .seed = 7, .depth_max = 4, .block_max = 65536};
    BlkVerifier verifier(blk(), options);
    const auto done = verifier.run();
    if (!done && !verifier.mismatch()) return fail(done.error());
    EXPECT_EQ(done.has_value(), !verifier.mismatch());
    EXPECT_EQ(verifier.expected_sum() == verifier.disk_sum(), done.has_value());
    return verifier.mismatch();
  }
};

TEST_F(BlkVerifierTest, FindsNothingOnAnHonestDisk) {
  EXPECT_EQ(MUST(run()), std::nullopt);
}

TEST_F(BlkVerifierTest, NamesTheSectorThatIsNotWhatWasWritten) {
  change(5 * kSectorBytes + 17);
  EXPECT_EQ(MUST(run()), 5 * kSectorBytes);
}

TEST_F(BlkVerifierTest, NamesTheFirstSectorToo) {
  change(17);
  EXPECT_EQ(MUST(run()), 0U);
}

TEST_F(BlkVerifierTest, TellsADiskThatFailsFromOneThatForgets) {
  disk().on_answer = [](const spec::VirtioBlkReqHeader& header, auto& answer) {
    if (header.type.get() == spec::VIRTIO_BLK_T_FLUSH) answer.status = spec::VIRTIO_BLK_S_IOERR;
  };
  EXPECT_EQ(run().error().code, Errc::kIoError);
}

}  // namespace
}  // namespace airlock::cli
