// SPDX-License-Identifier: Apache-2.0
//
// Bytes of a VM and of a device, in any order and any number of pieces, against one session of the
// guard. Whatever they are, nothing of the VM's memory reaches the device under `bounce`.
#include <algorithm>

#include "guard/fake_device_fixture.h"
#include "guard/policy.h"
#include "guard/vm_session.h"

namespace airlock::guard {
namespace {

class Machine {
 public:
  explicit Machine(bool open) : open_(open) {
    Device::Options options;
    options.rules = parse_policy(open ? "open" : "bounce").value();
    options.answer_within = std::chrono::milliseconds(0);
    auto [peer, end] = vfio_user::RawPeer::pair();
    vm_.emplace(std::move(peer));
    session_ = std::make_unique<VmSession>(options, *poller_, source_, audit_, std::move(end),
                                           [this] { ended_ = true; });
    MUST(session_->start());
    settle();
    say(*vm_, vfio_user::make_message(1, spec::VFIO_USER_VERSION, vfio_user::Bytes(4)));
  }

  void of_vm(std::span<const std::byte> bytes) { say(*vm_, {bytes.begin(), bytes.end()}); }
  void of_device(std::span<const std::byte> bytes) {
    if (source_.device) say(source_.device->peer, {bytes.begin(), bytes.end()});
  }
  void silence(bool silent) {
    if (source_.device) source_.device->silent = silent;
  }

 private:
  void say(vfio_user::RawPeer& peer, const vfio_user::Bytes& bytes) {
    pollfd room{.fd = peer.fd(), .events = POLLOUT, .revents = 0};
    if (peer.fd() < 0 || poll(&room, 1, 0) != 1 || (room.revents & POLLHUP) != 0) return;
    static_cast<void>(::send(peer.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
    settle();
  }

  void settle() {
    for (int idle = 0; idle < 2 && !ended_;) {
      bool moved = MUST(poller_->wait(Clock::now()));
      session_->tick(Clock::now());
      if (source_.device) moved = source_.device->serve() || moved;
      idle = moved ? 0 : idle + 1;
    }
    std::array<std::byte, 4096> unread;
    while (recv(vm_->fd(), unread.data(), unread.size(), MSG_DONTWAIT) > 0) {
    }
    if (source_.device) CHECK(open_ || source_.device->handler.maps.empty());
  }

  bool open_;
  std::unique_ptr<Poller> poller_ = MUST(Poller::create());
  FakeSource source_;
  Audit audit_{Fd(), "fuzz"};
  bool ended_ = false;
  std::optional<vfio_user::RawPeer> vm_;
  std::unique_ptr<VmSession> session_;
};

}  // namespace
}  // namespace airlock::guard

// A byte of what, a byte of how many, the bytes; and again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace airlock;
  if (size == 0) return 0;
  set_log_level(LogLevel::kError);
  auto input = std::as_bytes(std::span(data, size));
  guard::Machine machine((data[0] & 1U) != 0);
  input = input.subspan(1);
  while (input.size() >= 2) {
    const auto what = std::to_integer<unsigned>(input[0]);
    const std::size_t count =
        std::min<std::size_t>(std::to_integer<unsigned>(input[1]), input.size() - 2);
    const auto bytes = input.subspan(2, count);
    input = input.subspan(2 + count);
    if (what % 8 == 0) machine.silence((what & 8U) != 0);
    if ((what & 1U) != 0) {
      machine.of_vm(bytes);
    } else {
      machine.of_device(bytes);
    }
  }
  return 0;
}
