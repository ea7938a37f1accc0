// SPDX-License-Identifier: Apache-2.0
// Requests and replies of a file system, well-formed or not, and backends that come and go. Here: a
// request is answered by the watch within the room that it has, or by a backend; what the next
// backend is told is a tree whose names leave no directory; trying to tell it comes to an end.
#include <fuzzer/FuzzedDataProvider.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/check.h"
#include "device/gateway/fuse_watch.h"
#include "ring/split_device_queue.h"
#include "spec/fuse.h"
#include "testing/chain_builder.h"
#include "wire/message.h"

namespace airlock::device {
namespace {

constexpr std::uint16_t kEntries = 64;
constexpr std::uint16_t kQueue = 1;
constexpr unsigned kTriesMost = 64;

// Reads the stream (postcard's numbers) as far as the names, and checks them.
class ToldTree {
 public:
  explicit ToldTree(const std::vector<std::byte>& bytes) : bytes_(bytes) {}

  void check() {
    CHECK(number() == 0);  // version 1
    for (std::uint64_t left = number(); left > 0; --left) {
      const std::uint64_t node = number();
      number();  // references
      if (number() == 1) {
        CHECK(nodes_.contains(number()));
        std::string name;
        for (std::uint64_t letters = number(); letters > 0; --letters)
          name += static_cast<char>(bytes_.at(at_++));
        CHECK(is_file_name(name));
      } else {
        CHECK(node == spec::FUSE_ROOT_ID);
      }
      CHECK(number() == 0);
      CHECK(nodes_.insert(node).second);
    }
  }

 private:
  std::uint64_t number() {
    std::uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto byte = std::to_integer<std::uint64_t>(bytes_.at(at_++));
      value |= (byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
  }

  const std::vector<std::byte>& bytes_;
  std::size_t at_ = 0;
  std::set<std::uint64_t> nodes_;
};

class Mount {
 public:
  explicit Mount(FuzzedDataProvider& input) : input_(input) {}

  void run() {
    for (int i = 0; i < 40 && input_.remaining_bytes() > 0; ++i) {
      switch (input_.ConsumeIntegralInRange(0, 7)) {
        case 0:
          come_back();
          break;
        case 1:
          watch_.reset();
          while (!in_flight_.empty())
            finish(in_flight_.begin());
          break;
        case 2:
        case 3:
          if (!in_flight_.empty()) reply();
          break;
        default:
          if (in_flight_.size() < kEntries / 4) ask();
          break;
      }
    }
  }

 private:
  void ask() {
    spec::FuseInHeader header{};
    header.opcode.set(input_.ConsumeIntegralInRange<std::uint32_t>(0, 52));
    header.nodeid.set(node());
    header.unique.set(++unique_);
    testing::ChainBuilder builder(driver_);
    if (input_.ConsumeIntegralInRange(0, 15) != 0) builder.readable_struct(header);
    const std::string body = input_.ConsumeRandomLengthString(300);
    if (!body.empty()) builder.readable(body);
    const auto room = input_.ConsumeIntegralInRange<std::uint32_t>(0, 600);
    if (room > 0) builder.writable(room);
    if (room == 0 && body.empty()) builder.readable("x");
    static_cast<void>(builder.submit());
    ring::Chain chain;
    CHECK(queue_.pop(chain).value());
    const auto answered = watch_.taken(kQueue, chain);
    if (answered) {
      CHECK(*answered <= room);
      CHECK(queue_.push_used(chain.head(), *answered).has_value());
      static_cast<void>(driver_.take_used());
    } else {
      in_flight_.insert_or_assign(std::to_underlying(chain.head()), Sent{chain, room});
    }
  }

  void reply() {
    const auto at =
        std::next(in_flight_.begin(), input_.ConsumeIntegralInRange<std::ptrdiff_t>(
                                          0, static_cast<std::ptrdiff_t>(in_flight_.size()) - 1));
    const auto& [head, sent] = *at;
    spec::FuseOutHeader header{};
    header.error.set(input_.ConsumeIntegralInRange(0, 3) == 0 ? ~std::uint32_t{1} : 0);
    header.unique.set(input_.ConsumeIntegralInRange<std::uint64_t>(0, unique_));
    std::vector<std::byte> bytes = vfio_user::bytes_of(header);
    for (const char letter : input_.ConsumeRandomLengthString(300))
      bytes.push_back(static_cast<std::byte>(letter));
    bytes.resize(std::min<std::size_t>(bytes.size(), sent.room));
    CHECK(sent.chain.write(0, bytes).has_value());
    watch_.returned(kQueue, head, static_cast<std::uint32_t>(bytes.size()));
    finish(at);
  }

  void come_back() {
    watch_.backend_lost();
    unsigned tries = 0;
    bool told = !watch_.has_to_tell();
    while (watch_.has_to_tell()) {
      CHECK(++tries < kTriesMost);
      const auto state = watch_.to_tell();
      if (!state) break;
      ToldTree(*state).check();
      if (input_.ConsumeBool()) {
        watch_.refused();
      } else {
        watch_.accepted();
        told = true;
      }
    }
    if (!told) watch_.give_up();
    for (auto at = in_flight_.begin(); at != in_flight_.end();) {
      const auto next = std::next(at);
      const auto answered = watch_.again(kQueue, at->first, input_.ConsumeBool());
      if (answered) {
        CHECK(*answered <= at->second.room);
        finish(at);
      }
      at = next;
    }
  }

  struct Sent {
    ring::Chain chain;
    std::uint32_t room;
  };
  using Place = std::map<std::uint16_t, Sent>::iterator;

  void finish(Place at) {
    CHECK(queue_.push_used(at->second.chain.head(), 0).has_value());
    static_cast<void>(driver_.take_used());
    in_flight_.erase(at);
  }
  std::uint64_t node() {
    return input_.ConsumeIntegralInRange(0, 15) == 0
               ? input_.ConsumeIntegral<std::uint64_t>()
               : input_.ConsumeIntegralInRange<std::uint64_t>(0, 6);
  }

  FuzzedDataProvider& input_;
  testing::TestRegion region_{{.mode = window::AddressMode::kBus}};
  testing::FakeDriver driver_{region_, kEntries, kQueue};
  ring::SplitDeviceQueue queue_ =
      MUST(ring::SplitDeviceQueue::create(driver_.config(), region_.window()));
  FuseWatch watch_{2};
  std::map<std::uint16_t, Sent> in_flight_;  // by head
  std::uint64_t unique_ = 0;
};

}  // namespace
}  // namespace airlock::device

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  airlock::device::Mount(input).run();
  return 0;
}
