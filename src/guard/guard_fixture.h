// SPDX-License-Identifier: Apache-2.0
//
// For tests and fuzzing: a guard's session with a scripted VM on one side and devices on the other,
// all on one thread. Nothing moves but in settle().
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/event_fd.h"
#include "guard/fake_device_fixture.h"
#include "guard/policy.h"
#include "guard/vm_session.h"
#include "spec/pci.h"

namespace airlock::guard {

class GuardFixture : public testing::Test {
 protected:
  static constexpr std::uint32_t kMsix = spec::VFIO_PCI_MSIX_IRQ_INDEX;

  /// A VM's connection with a device behind it, negotiated.
  void start(const std::string& policy = "bounce") {
    connect(policy);
    EXPECT_EQ(ask(spec::VFIO_USER_VERSION, version()).header.error, 0U);
  }

  void connect(const std::string& policy = "bounce") {
    options.rules = parse_policy(policy).value();
    auto [peer, end] = RawPeer::pair();
    vm.emplace(std::move(peer));
    session = std::make_unique<VmSession>(options, *poller, source, audit, std::move(end),
                                          [this] { ended = true; });
    ASSERT_TRUE(session->start());
    settle();
  }

  static Bytes version() {
    return vfio_user::bytes_of(spec::VfioUserVersion{.major = 0, .minor = 0});
  }

  /// Until nothing moves any more.
  void settle() {
    // What a tick begins shows in the next round.
    for (int idle = 0; idle < 2 && session;) {
      bool moved = MUST(poller->wait(Clock::now()));
      session->tick(Clock::now());
      if (source.device) moved = source.device->serve() || moved;
      if (ended) session.reset();
      idle = moved ? 0 : idle + 1;
    }
  }

  /// Until a deadline of the guard's has come and gone.
  void pass_deadline() {
    const auto deadline = session->next_deadline();
    ASSERT_TRUE(deadline.has_value());
    while (Clock::now() < *deadline)
      MUST(poller->wait(*deadline));
    settle();
  }

  Message ask(std::uint16_t command, const Bytes& payload = {}, const std::vector<Fd>& fds = {}) {
    EXPECT_TRUE(vm->send(vfio_user::make_message(++id, command, payload), fds));
    settle();
    return vm->expect();
  }

  /// `argsz`: how much of an answer there is room for.
  Message ask_region(std::uint32_t index, std::uint32_t argsz) {
    return ask(
        spec::VFIO_USER_DEVICE_GET_REGION_INFO,
        vfio_user::bytes_of(spec::VfioUserRegionInfo{
            .argsz = argsz, .flags = 0, .index = index, .cap_offset = 0, .size = 0, .offset = 0}));
  }

  Message read(std::uint32_t region, std::uint64_t offset, std::uint32_t count) {
    return ask(spec::VFIO_USER_REGION_READ,
               vfio_user::bytes_of(
                   spec::VfioUserRegionAccess{.offset = offset, .region = region, .count = count}));
  }
  static Bytes data_of(const Message& reply) {
    return {reply.payload.begin() + sizeof(spec::VfioUserRegionAccess), reply.payload.end()};
  }
  template <class T>
  void write(std::uint32_t region, std::uint64_t offset, const T& value) {
    Bytes payload = vfio_user::bytes_of(
        spec::VfioUserRegionAccess{.offset = offset, .region = region, .count = sizeof value});
    vfio_user::append_struct(payload, value);
    EXPECT_EQ(ask(spec::VFIO_USER_REGION_WRITE, payload).header.error, 0U);
  }
  template <class T>
  void write_common(std::size_t field, const T& value) {
    write(RecordingHandler::kPlain, FakeDevice::kCommon + field, value);
  }

  Message set_irqs(std::uint32_t index, std::uint32_t start, std::uint32_t count,
                   std::vector<Fd> fds,
                   std::uint32_t flags = spec::VFIO_IRQ_SET_DATA_EVENTFD |
                                         spec::VFIO_IRQ_SET_ACTION_TRIGGER) {
    return ask(spec::VFIO_USER_DEVICE_SET_IRQS,
               vfio_user::bytes_of(spec::VfioUserIrqSet{.argsz = sizeof(spec::VfioUserIrqSet),
                                                        .flags = flags,
                                                        .index = index,
                                                        .start = start,
                                                        .count = count}),
               fds);
  }
  /// An interrupt of the VM's: what it sees of it.
  EventFd interrupt(std::uint32_t vector) {
    std::vector<Fd> fds;
    fds.push_back(MUST(own_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))));
    EventFd seen = MUST(EventFd::adopt(MUST(fds.front().duplicate())));
    EXPECT_EQ(set_irqs(kMsix, vector, 1, std::move(fds)).header.error, 0U);
    return seen;
  }

  static Bytes dma_map(std::uint64_t address, std::uint64_t size, std::uint32_t flags = 3) {
    return vfio_user::bytes_of(spec::VfioUserDmaMap{.argsz = sizeof(spec::VfioUserDmaMap),
                                                    .flags = flags,
                                                    .offset = 0,
                                                    .address = address,
                                                    .size = size});
  }
  static std::vector<Fd> one(Fd fd) {
    std::vector<Fd> fds;
    fds.push_back(std::move(fd));
    return fds;
  }
  static Fd memory_file(std::uint64_t size) {
    Fd fd = MUST(own_fd(memfd_create("ram", MFD_CLOEXEC | MFD_ALLOW_SEALING)));
    EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(size)), 0);
    return fd;
  }

  /// What the device asks of its own; the answer is among its `answers`, or in the VM's hands.
  void device_asks(std::uint16_t command, std::uint64_t address, std::uint64_t count,
                   const Bytes& data = {}) {
    Bytes payload = vfio_user::bytes_of(std::array{address, count});
    payload.insert(payload.end(), data.begin(), data.end());
    EXPECT_TRUE(source.device->peer.send(vfio_user::make_message(77, command, payload)));
    settle();
  }

  std::unique_ptr<Poller> poller = MUST(Poller::create());
  FakeSource source;
  Audit audit{Fd(), "a device"};
  Device::Options options;
  bool ended = false;
  std::uint16_t id = 0;
  std::optional<RawPeer> vm;
  std::unique_ptr<VmSession> session;
};

}  // namespace airlock::guard
