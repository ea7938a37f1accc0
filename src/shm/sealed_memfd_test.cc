// SPDX-License-Identifier: Apache-2.0
#include "shm/sealed_memfd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

namespace airlock::shm {
namespace {

// An unsealed memfd, or one with some seals.
Fd plain_memfd(off_t size, int seals) {
  Fd fd = MUST(own_fd(memfd_create("plain", MFD_CLOEXEC | MFD_ALLOW_SEALING)));
  CHECK(ftruncate(fd.get(), size) == 0);
  if (seals != 0) CHECK(fcntl(fd.get(), F_ADD_SEALS, seals) == 0);
  return fd;
}

TEST(SealedMemfd, NeitherSideCanTruncateIt) {
  const SealedMemfd memfd = MUST(SealedMemfd::create({.size = 4096}));
  EXPECT_EQ(ftruncate(memfd.fd().get(), 0), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(ftruncate(memfd.fd().get(), 8192), -1);
  EXPECT_EQ(fcntl(memfd.fd().get(), F_ADD_SEALS, F_SEAL_WRITE), -1);
}

TEST(SealedMemfd, AdoptsWhatIsSealedAndOfTheAnnouncedSize) {
  const SealedMemfd memfd = MUST(SealedMemfd::create({.size = 4096}));
  EXPECT_TRUE(SealedMemfd::adopt(MUST(memfd.fd().duplicate()), 4096).has_value());
  EXPECT_EQ(SealedMemfd::adopt(MUST(memfd.fd().duplicate()), 8192).error().code, Errc::kWrongSize);
}

TEST(SealedMemfd, RefusesWhatItsOwnerCouldTruncate) {
  EXPECT_EQ(SealedMemfd::adopt(plain_memfd(4096, 0), 4096).error().code, Errc::kUnsealed);
  EXPECT_EQ(SealedMemfd::adopt(plain_memfd(4096, F_SEAL_SHRINK | F_SEAL_GROW), 4096).error().code,
            Errc::kUnsealed);
  EXPECT_EQ(
      SealedMemfd::adopt(MUST(own_fd(open("/dev/zero", O_RDWR | O_CLOEXEC))), 4096).error().code,
      Errc::kUnsealed);
}

// Its owner could give the pages back, and nobody would get them again.
TEST(SealedMemfd, TakesHugePagesOnlyWhereTheyAreWanted) {
  constexpr std::uint64_t kSize = std::uint64_t{1} << 30;  // whole pages, however huge
  const auto memfd = SealedMemfd::create({.size = kSize, .pages = PageKind::kHuge});
  if (!memfd) GTEST_SKIP() << "this kernel has no huge pages: " << describe(memfd.error());
  const auto adopt = [&](PageKind pages) {
    return SealedMemfd::adopt(MUST(memfd->fd().duplicate()), kSize, pages);
  };
  EXPECT_EQ(adopt(PageKind::kNormal).error().code, Errc::kHugePages);
  EXPECT_TRUE(adopt(PageKind::kHuge).has_value());
  const SealedMemfd normal = MUST(SealedMemfd::create({.size = 4096}));
  EXPECT_TRUE(SealedMemfd::adopt(MUST(normal.fd().duplicate()), 4096, PageKind::kHuge).has_value());
}

// DMB-D3: what one side writes the other reads, with no cache in between to be told.
TEST(SealedMemfd, DiscardedMemoryIsZeroForAll) {
  const SealedMemfd memfd = MUST(SealedMemfd::create({.size = 4096}));
  const Mapping mine = MUST(memfd.map());
  const Mapping theirs = MUST(memfd.map());
  mine.bytes().store_relaxed<std::uint32_t>(0, 7);
  EXPECT_EQ(theirs.bytes().load_relaxed<std::uint32_t>(0), 7U);
  memfd.discard();
  EXPECT_EQ(theirs.bytes().load_relaxed<std::uint32_t>(0), 0U);
}

TEST(SealedMemfd, RefusesSizesThatAreNoPages) {
  EXPECT_EQ(SealedMemfd::create({.size = 0}).error().code, Errc::kTooSmall);
  EXPECT_EQ(SealedMemfd::create({.size = 4097}).error().code, Errc::kNotAligned);
}

}  // namespace
}  // namespace airlock::shm
