// SPDX-License-Identifier: Apache-2.0
//
// Goal: a disk driven over a real socket, and a server that lies about its BARs or hands out memory
// that it could take away. Method: a vfio-user server on a thread of its own.
#include "driver/vfio_user_transport.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>

#include "base/log.h"
#include "driver/blk.h"
#include "spec/vfio_user.h"
#include "testing/fake_disk.h"
#include "vfio_user/handler.h"
#include "vfio_user/server.h"

namespace airlock::driver {
namespace {

// A device as its server shows it, and what a test lies about.
class DiskHandler final : public vfio_user::Handler {
 public:
  testing::FakeDiskDevice disk{{}};
  std::optional<vfio_user::RegionInfo> region_lie;  // of the region's BAR
  bool keep_bars = true;                            // false: BAR writes are ignored
  int dma_maps = 0;
  std::vector<vfio_user::Doorbell> bells;  // of the registers' BAR
  std::atomic<int> notify_messages{0};

  void connected() override {}
  void disconnected() override { disk.device().vectors().remove_all(); }
  vfio_user::RegionInfo region(std::uint32_t index) override {
    if (index == pci::kRegionBar && region_lie) return *region_lie;
    const auto found = disk.device().region_info(index);
    vfio_user::RegionInfo info{
        .size = found.size, .readable = true, .writable = true, .mapping = {}};
    if (found.mappable) {
      info.mapping = {.fd = disk.memfd.fd().get(), .area = {.offset = 0, .size = found.size}};
    }
    return info;
  }
  std::vector<vfio_user::Doorbell> doorbells(std::uint32_t index) override {
    return index == pci::kRegistersBar ? bells : std::vector<vfio_user::Doorbell>();
  }
  std::uint32_t irq_count(std::uint32_t index) override {
    return index == spec::VFIO_PCI_MSIX_IRQ_INDEX ? disk.device().vectors().count() : 0U;
  }
  Result<void> read(std::uint32_t region, std::uint64_t offset,
                    std::span<std::byte> target) override {
    return disk.device().read(region, offset, target);
  }
  Result<void> write(std::uint32_t region, std::uint64_t offset,
                     std::span<const std::byte> source) override {
    const bool bar = region == pci::kConfigRegion && offset >= 0x10 && offset < 0x28;
    if (bar && !keep_bars) return {};
    if (region == pci::kRegistersBar && offset >= pci::kNotifyOffset) ++notify_messages;
    return disk.device().write(region, offset, source);
  }
  Result<void> set_irq_eventfds(std::uint32_t /*index*/, std::uint32_t start,
                                std::vector<Fd> eventfds) override {
    for (std::size_t i = 0; i < eventfds.size(); i++) {
      TRY(disk.device().vectors().install(static_cast<std::uint16_t>(start + i),
                                          TRY(EventFd::adopt(std::move(eventfds[i])))));
    }
    return {};
  }
  Result<void> deassign_irqs(std::uint32_t, std::uint32_t, std::uint32_t) override { return {}; }
  Result<void> disable_irqs(std::uint32_t) override { return {}; }
  Result<void> trigger_irq(std::uint32_t, std::uint32_t, std::uint32_t) override { return {}; }
  void dma_map(const vfio_user::DmaRange& /*range*/, Fd /*fd*/, vfio_user::Reply reply) override {
    dma_maps++;
    reply(Result<void>{});
  }
  void dma_unmap(std::uint64_t, std::uint64_t, bool, vfio_user::Reply reply) override {
    reply(Result<void>{});
  }
  void reset(vfio_user::Reply reply) override {
    disk.device().reset();
    reply(Result<void>{});
  }
};

class VfioUserTransportTest : public ::testing::Test {
 protected:
  VfioUserTransportTest() { set_log_level(LogLevel::kError); }
  ~VfioUserTransportTest() override { stop(); }

  Result<std::unique_ptr<VfioUserTransport>> connect(const VfioUserTransport::Trust& trust = {
                                                         .doorbells = true}) {
    std::array<int, 2> ends{};
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
    server_ = MUST(vfio_user::Server::listen(context_, handler_, {.socket = Fd(ends[0])}));
    thread_ = std::jthread([this] { context_.run(); });
    auto client = MUST(vfio_user::Client::adopt(Fd(ends[1]), {}));
    return VfioUserTransport::adopt(std::move(client), trust);
  }
  // Whether there are any. None is ever taken from the system's pool.
  bool offer_huge_pages() {
    auto memfd = shm::SealedMemfd::create({.size = 1 << 30, .pages = shm::PageKind::kHuge});
    if (!memfd) return false;
    huge_ = std::move(*memfd);
    handler_.region_lie = {
        .size = 1 << 20,
        .readable = true,
        .writable = true,
        .mapping = {{.fd = huge_.fd().get(), .area = {.offset = 0, .size = 1 << 20}}}};
    return true;
  }
  void stop() {
    if (!thread_.joinable()) return;
    asio::post(context_, [this] { server_->close(); });
    work_.reset();
    thread_.join();
  }

  shm::SealedMemfd huge_;
  DiskHandler handler_;
  asio::io_context context_;
  asio::executor_work_guard<asio::io_context::executor_type> work_ =
      asio::make_work_guard(context_);
  std::optional<vfio_user::Server> server_;
  std::jthread thread_;
};

TEST_F(VfioUserTransportTest, DrivesADiskWithoutAByteOfOurMemory) {
  auto transport = MUST(connect());
  const VfioUserTransport& seen = *transport;
  EXPECT_GT(transport->interrupt_vectors(), 1);
  const auto blk = MUST(Blk::open(std::move(transport), {}));
  const std::vector<std::byte> bytes(40960, std::byte{0x5a});
  EXPECT_TRUE(blk->write(0, bytes));
  auto buffer = MUST(blk->allocate(40960));
  EXPECT_TRUE(blk->read(0, buffer.span()));
  EXPECT_TRUE(std::ranges::equal(buffer.span(), bytes));
  buffer.reset();
  ASSERT_TRUE(blk->reset());
  std::vector<std::byte> back(512);
  EXPECT_TRUE(blk->read(512, back));
  EXPECT_EQ(back[0], std::byte{0x5a});
  EXPECT_EQ(seen.refused_commands(), 0U);
  EXPECT_EQ(handler_.dma_maps, 0);
}

TEST_F(VfioUserTransportTest, WakesUpByInterrupt) {
  auto blk = MUST(Blk::open(MUST(connect()), {.spin = std::chrono::microseconds(0)}));
  std::vector<std::byte> target(512);
  for (int i = 0; i < 50; i++)
    EXPECT_TRUE(blk->read(0, target));
  EXPECT_EQ(blk->stats().requests, 50U);
}

constexpr pci::BarRange kNotify{
    .bar = pci::kRegistersBar, .offset = pci::kNotifyOffset, .length = 0x1000};
constexpr Register kNotify0{
    .bar = pci::kRegistersBar, .offset = pci::kNotifyOffset, .width = Width::k2};

// VFIO_USER 1.8.
TEST_F(VfioUserTransportTest, NotifiesByDoorbellWhereThereIsOne) {
  const EventFd bell = MUST(EventFd::create());
  handler_.bells = {{.offset = pci::notify_offset(0), .size = 2, .fd = bell.fd()}};
  const auto transport = MUST(connect());
  EXPECT_TRUE(transport->post(kNotify0, 0));
  EXPECT_FALSE(bell.drain()) << "not asked for yet";
  EXPECT_TRUE(transport->prepare_notifications(kNotify));
  EXPECT_TRUE(transport->post(kNotify0, 0));
  EXPECT_TRUE(bell.drain());
  // Other widths (data) and other registers are written.
  Register wide = kNotify0;
  wide.width = Width::k4;
  EXPECT_TRUE(transport->post(wide, 7));
  Register other = kNotify0;
  other.offset += pci::kNotifyMultiplier;
  EXPECT_TRUE(transport->post(other, 1));
  EXPECT_TRUE(transport->write(kNotify0, 0));
  EXPECT_FALSE(bell.drain());
  EXPECT_EQ(handler_.notify_messages, 4);
}

// HD-19: a device could have a write to its eventfd wait for ever.
TEST_F(VfioUserTransportTest, NotifiesByMessageWhereNobodyIsTrusted) {
  const EventFd bell = MUST(EventFd::create());
  handler_.bells = {{.offset = pci::notify_offset(0), .size = 2, .fd = bell.fd()}};
  const auto transport = MUST(connect({}));
  EXPECT_TRUE(transport->prepare_notifications(kNotify));
  EXPECT_TRUE(transport->post(kNotify0, 0));
  EXPECT_TRUE(transport->read(kNotify0));  // in order: it has arrived
  EXPECT_EQ(handler_.notify_messages, 1);
  EXPECT_FALSE(bell.drain());
}

TEST_F(VfioUserTransportTest, NotifiesByMessageWhereThereIsNoDoorbell) {
  const auto transport = MUST(connect());
  EXPECT_TRUE(transport->prepare_notifications(kNotify));
  EXPECT_TRUE(transport->post(kNotify0, 0));
  EXPECT_TRUE(transport->read(kNotify0));  // in order: it has arrived
  EXPECT_EQ(handler_.notify_messages, 1);
}

TEST_F(VfioUserTransportTest, RefusesADoorbellOutsideTheNotifyRegisters) {
  const EventFd bell = MUST(EventFd::create());
  handler_.bells = {{.offset = pci::kNotifyOffset - 2, .size = 2, .fd = bell.fd()}};
  EXPECT_EQ(MUST(connect())->prepare_notifications(kNotify).error().code, Errc::kOutOfRange);
}

// A device that fills the counter of its doorbell, and makes it blocking, keeps nobody waiting.
TEST_F(VfioUserTransportTest, DoorbellThatIsFullAndBlockingKeepsNobodyWaiting) {
  const EventFd bell = MUST(EventFd::create());
  handler_.bells = {{.offset = pci::notify_offset(0), .size = 2, .fd = bell.fd()}};
  const auto transport = MUST(connect());
  EXPECT_TRUE(transport->prepare_notifications(kNotify));
  const std::uint64_t most = UINT64_MAX - 1;
  ASSERT_EQ(::write(bell.fd(), &most, sizeof most), 8);
  ASSERT_EQ(fcntl(bell.fd(), F_SETFL, 0), 0);
  EXPECT_TRUE(transport->post(kNotify0, 0));
  EXPECT_TRUE(bell.drain());
}

// Whose value counts is a message also where there is a doorbell.
TEST_F(VfioUserTransportTest, WritesNotificationData) {
  const EventFd bell = MUST(EventFd::create());
  handler_.bells = {{.offset = pci::notify_offset(0), .size = 2, .fd = bell.fd()}};
  const auto blk = MUST(Blk::open(MUST(connect()), {.device = {.ring_features = kRingFeatures}}));
  ASSERT_TRUE(blk->device().has(spec::VIRTIO_F_NOTIFICATION_DATA));
  std::vector<std::byte> target(512);
  EXPECT_TRUE(blk->read(0, target));
  EXPECT_FALSE(bell.drain());
  EXPECT_GT(handler_.notify_messages, 0);
}

TEST_F(VfioUserTransportTest, ResetsAndPlacesTheBarsAgain) {
  auto transport = MUST(connect());
  Le16 command(0);
  ASSERT_TRUE(transport->reset());
  ASSERT_TRUE(
      transport->read_config(spec::PCI_COMMAND, std::as_writable_bytes(std::span(&command, 1))));
  EXPECT_NE(command.get() & spec::PCI_COMMAND_MEMORY, 0);
  EXPECT_TRUE(Blk::open(std::move(transport), {}).has_value());
}

TEST_F(VfioUserTransportTest, RefusesRegistersOutsideTheirBar) {
  const auto transport = MUST(connect());
  EXPECT_TRUE(transport->read({.bar = 0, .offset = 0, .width = Width::k4}).has_value());
  const auto error = [&](const Register& where) { return transport->read(where).error().code; };
  EXPECT_EQ(error({.bar = 0, .offset = 0x4000, .width = Width::k1}), Errc::kOutOfRange);
  EXPECT_EQ(error({.bar = 5, .offset = 0, .width = Width::k1}), Errc::kOutOfRange);
  EXPECT_EQ(error({.bar = 9, .offset = 0, .width = Width::k1}), Errc::kOutOfRange);
  EXPECT_EQ(error({.bar = 0, .offset = 2, .width = Width::k4}), Errc::kNotAligned);
}

// A bus address that only one side believes in is none.
TEST_F(VfioUserTransportTest, RefusesABarThatDoesNotStayWhereItIsPut) {
  handler_.keep_bars = false;
  EXPECT_EQ(connect().error().code, Errc::kMalformed);
}

TEST_F(VfioUserTransportTest, RefusesARegionThatItsServerCouldTakeAway) {
  const Fd plain = MUST(own_fd(memfd_create("plain", MFD_CLOEXEC)));
  ASSERT_EQ(ftruncate(plain.get(), 1 << 20), 0);
  handler_.region_lie = {.size = 1 << 20,
                         .readable = true,
                         .writable = true,
                         .mapping = {{.fd = plain.get(), .area = {.offset = 0, .size = 1 << 20}}}};
  EXPECT_EQ(Blk::open(MUST(connect()), {}).error().code, Errc::kUnsealed);
}

// Unless its user wants it: a device of ours has them too (serve blk --huge-pages).
TEST_F(VfioUserTransportTest, RefusesARegionOfHugePages) {
  if (!offer_huge_pages()) GTEST_SKIP() << "this kernel has no huge pages";
  EXPECT_EQ(Blk::open(MUST(connect()), {}).error().code, Errc::kHugePages);
}

TEST_F(VfioUserTransportTest, TakesARegionOfHugePagesWhereItIsWanted) {
  if (!offer_huge_pages()) GTEST_SKIP() << "this kernel has no huge pages";
  // That far it is good; the file is larger than the region.
  EXPECT_EQ(Blk::open(MUST(connect({.pages = shm::PageKind::kHuge})), {}).error().code,
            Errc::kWrongSize);
}

TEST_F(VfioUserTransportTest, RefusesARegionInAFileOfAnotherSize) {
  const auto small = MUST(shm::SealedMemfd::create({.size = 524288}));
  handler_.region_lie = {
      .size = 1 << 20,
      .readable = true,
      .writable = true,
      .mapping = {{.fd = small.fd().get(), .area = {.offset = 0, .size = 1 << 20}}}};
  EXPECT_EQ(Blk::open(MUST(connect()), {}).error().code, Errc::kWrongSize);
}

TEST_F(VfioUserTransportTest, RefusesARegionThatCannotBeMapped) {
  handler_.region_lie = {.size = 1 << 20, .readable = true, .writable = true, .mapping = {}};
  EXPECT_EQ(Blk::open(MUST(connect()), {}).error().code, Errc::kNoRegion);
}

// The device goes away in the middle: an error, soon, and everything ended.
TEST_F(VfioUserTransportTest, SurvivesTheEndOfTheServer) {
  auto blk = MUST(Blk::open(MUST(connect()), {.timeout = std::chrono::milliseconds(100)}));
  stop();
  std::vector<std::byte> target(512);
  EXPECT_FALSE(blk->read(0, target).has_value());
  EXPECT_EQ(blk->queue(0).inside(), 0U);
  EXPECT_FALSE(blk->reset().has_value());
}

}  // namespace
}  // namespace airlock::driver
