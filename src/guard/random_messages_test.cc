// SPDX-License-Identifier: Apache-2.0
//
// Messages at random from both sides, whole sessions of them: nothing stays behind.
#include <malloc.h>

#include <random>

#include "guard/guard_fixture.h"

namespace airlock::guard {
namespace {

class RandomMessagesTest : public GuardFixture {
 protected:
  // Under a sanitizer, and that of addresses above all, everything takes longer.
  static constexpr int kMessages = 100'000;
  static constexpr int kPerSession = 500;

  std::uint32_t pick(std::uint32_t below) { return static_cast<std::uint32_t>(dice_()) % below; }
  template <class T>
  T one_of(std::initializer_list<T> values) {
    return values.begin()[pick(static_cast<std::uint32_t>(values.size()))];
  }

  // Half of them well formed, so that what lies behind the first check is reached.
  Bytes payload_for(std::uint16_t command) {
    const auto number = [&] {
      return one_of<std::uint64_t>({0, 1, 2, 4, 64, 4096, 8192, 65536, ~std::uint64_t{0}, dice_()});
    };
    const auto small = [&] { return static_cast<std::uint32_t>(number()); };
    Bytes bytes;
    switch (command) {
      case spec::VFIO_USER_DMA_MAP:
        bytes = dma_map(number(), number(), pick(4));
        break;
      case spec::VFIO_USER_DMA_UNMAP:
        bytes = vfio_user::bytes_of(spec::VfioUserDmaUnmap{
            .argsz = 24, .flags = one_of({0U, 2U, 1U}), .address = number(), .size = number()});
        break;
      case spec::VFIO_USER_DEVICE_SET_IRQS:
        bytes = vfio_user::bytes_of(
            spec::VfioUserIrqSet{.argsz = 20,
                                 .flags = one_of({0x24U, 0x21U, 0x22U, 0x09U, 0x11U, 0xffU}),
                                 .index = pick(6),
                                 .start = small(),
                                 .count = pick(4)});
        break;
      case spec::VFIO_USER_REGION_READ:
      case spec::VFIO_USER_REGION_WRITE:
        bytes = vfio_user::bytes_of(spec::VfioUserRegionAccess{
            .offset = number(), .region = pick(10), .count = one_of({1U, 2U, 4U, 8U, small()})});
        break;
      default:
        bytes.resize(one_of({0U, 4U, 16U, 20U, 32U, pick(300)}));
    }
    if (pick(3) == 0) bytes.resize(bytes.size() + one_of({1U, 2U, 4U, 8U}));
    if (!bytes.empty() && pick(8) == 0)
      bytes.at(pick(static_cast<std::uint32_t>(bytes.size()))) ^= std::byte(1U << pick(8));
    return bytes;
  }

  // Few of them end the stream at once: behind an end there is only a new beginning.
  Bytes message() {
    const auto command = static_cast<std::uint16_t>(pick(20));
    const std::uint32_t flags = pick(50) == 0  ? one_of({1U, 0x21U, 0xfU, 0x40U})
                                : pick(8) == 0 ? 0x10U
                                               : 0U;
    Bytes bytes = vfio_user::make_message(static_cast<std::uint16_t>(pick(300)), command,
                                          payload_for(command), flags, pick(40));
    if (pick(200) == 0) bytes.at(4 + pick(4)) ^= std::byte(1U << pick(8));  // the size
    return bytes;
  }

  std::vector<Fd> fds() {
    if (pick(4) != 0) return {};
    return pick(2) == 0 ? one(memory_file(4096)) : vfio_user::some_eventfds(1 + pick(3));
  }

  void send(RawPeer& peer) {
    const Bytes bytes = message();
    const std::vector<Fd> along = fds();
    if (peer.fd() < 0) return;
    pollfd room{.fd = peer.fd(), .events = POLLOUT, .revents = 0};
    if (poll(&room, 1, 0) == 1 && (room.revents & POLLHUP) == 0) {
      static_cast<void>(peer.send(bytes, along));
    }
  }

  void take_all(RawPeer& peer) {
    while (peer.fd() >= 0 && peer.readable(0)) {
      if (!peer.receive()) return peer.close();
    }
  }

  void converse(const std::string& policy) {
    start(policy);
    for (int i = 0; i < kPerSession && session; ++i) {
      const bool of_vm = pick(2) == 0;
      if (of_vm || !source.device) {
        send(*vm);
      } else {
        send(source.device->peer);
      }
      if (source.device) source.device->silent = pick(4) == 0;
      settle();
      take_all(*vm);
      ++sent_;
    }
    session.reset();
    source.device.reset();
    vm.reset();
    ended = false;
  }

  std::mt19937 dice_{20261121};
  int sent_ = 0;
};

TEST_F(RandomMessagesTest, LeaveNothingBehind) {
  set_log_level(LogLevel::kError);
  options.answer_within = std::chrono::milliseconds(0);
  options.restarts = {.burst = 100, .first_delay = std::chrono::milliseconds(0)};
  options.hang_limit = std::chrono::hours(1);
  source.can_restart = true;
  converse("bounce");  // whatever is made once
  const auto fds_before = vfio_user::open_fds();
  std::size_t kept_early = 0;
  while (sent_ < kMessages) {
    converse(one_of<std::string>({"bounce", "open", "window=0+8K"}));
    if (kept_early == 0 && sent_ > kMessages / 4) kept_early = mallinfo2().uordblks;
  }
  EXPECT_EQ(vfio_user::open_fds(), fds_before);
  // Three quarters of all went by, and no memory with them.
  EXPECT_LT(mallinfo2().uordblks, kept_early + 65536);
}

}  // namespace
}  // namespace airlock::guard
