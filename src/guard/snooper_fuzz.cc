// SPDX-License-Identifier: Apache-2.0
//
// Goal: whatever stands in a ring that is followed, what is invited is what a naive model says,
// which knows the rules of a chain and nothing of how it is walked; and so it is when the device
// returns what it likes, and when queues are reset. Method: the input says what a driver writes to
// a small memory, mostly plausible, and what a device does, through the guard's own checks.
#include <fuzzer/FuzzedDataProvider.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/fd.h"
#include "core/descriptor.h"
#include "guard/snooper.h"
#include "shm/mapping.h"
#include "spec/virtio.h"
#include "spec/virtio_ring.h"
#include "wire/message.h"

namespace airlock::guard {
namespace {

using SnoopedAreas = VirtioRecord::QueueAreas;

constexpr std::uint64_t kSnoopedRam = 0x4000;
constexpr std::uint64_t kSnoopedBase = 0x10000;  // on the guest's bus
constexpr std::uint64_t kSnoopedTable = 0x1000;  // in the memory, as all that follows
constexpr std::uint64_t kSnoopedEntries = 4;     // where elements begin in either ring
constexpr std::uint64_t kSnoopedElement = sizeof(spec::VirtqUsedElem);

// Kept from run to run: mapping memory anew each time would be all that the fuzzer does.
struct SnoopedMemory {
  Fd file = MUST(own_fd(memfd_create("ram", MFD_CLOEXEC)));
  shm::Mapping mapping;

  SnoopedMemory() {
    CHECK(ftruncate(file.get(), kSnoopedRam) == 0);
    mapping = MUST(shm::Mapping::map(file, {.length = kSnoopedRam}));
  }
};

/// What is invited, byte by byte where it matters, and said as the specification does.
class NaiveSnooper {
 public:
  struct Buffer {
    std::uint64_t address = 0;
    std::uint64_t length = 0;
    bool write = false;
  };

  explicit NaiveSnooper(const shm::SharedBytes& ram) : ram_(ram) {}

  void open(const SnoopedAreas& areas, std::uint64_t features) {
    areas_ = areas;
    const bool known = (features & (spec::feature(spec::VIRTIO_F_RING_PACKED) |
                                    spec::feature(spec::VIRTIO_F_IN_ORDER))) == 0;
    open_ = known && (areas.size & (areas.size - 1)) == 0;
    indirect_ = (features & spec::feature(spec::VIRTIO_F_INDIRECT_DESC)) != 0;
    in_flight_.clear();
    available_ = used_ = 0;
    used_ring_.assign(kSnoopedEntries + (kSnoopedElement * areas.size), std::byte{0});
  }

  void follow() {
    if (!open_) return;
    const std::uint64_t ring = areas_.driver - kSnoopedBase;
    const std::uint16_t index = ram_.snapshot<Le16>(ring + 2).get();
    if (static_cast<std::uint16_t>(index - available_) > areas_.size) return close();
    for (; open_ && available_ != index; ++available_) {
      const std::uint64_t slot = available_ % areas_.size;
      const std::uint16_t head = ram_.snapshot<Le16>(ring + kSnoopedEntries + (2 * slot)).get();
      auto buffers = in_flight_.contains(head) ? std::nullopt : chain(head);
      if (!buffers) return close();
      in_flight_[head] = std::move(*buffers);
    }
  }

  void wrote(std::uint64_t address, std::span<const std::byte> bytes) {
    if (!open_) return;
    bool touched = false;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      const std::uint64_t at = address + i - areas_.device;
      if (at >= used_ring_.size()) continue;
      used_ring_[at] = bytes[i];
      touched = true;
    }
    if (!touched) return;
    const std::uint16_t index = vfio_user::require_struct<Le16>(used_ring_, 2).get();
    if (static_cast<std::uint16_t>(index - used_) > in_flight_.size()) return close();
    for (; used_ != index; ++used_) {
      const std::uint64_t at = kSnoopedEntries + (kSnoopedElement * (used_ % areas_.size));
      if (in_flight_.erase(vfio_user::require_struct<Le32>(used_ring_, at).get()) == 0) {
        return close();
      }
    }
  }

  [[nodiscard]] bool invites(bool write, std::uint64_t address, std::uint64_t count) const {
    if (!open_) return false;
    const std::uint64_t size = areas_.size;
    const auto inside = [&](std::uint64_t start, std::uint64_t length) {
      return address >= start && address + count <= start + length;
    };
    if (inside(areas_.device, (8 * size) + 6)) return true;
    if (!write &&
        (inside(areas_.descriptors, 16 * size) || inside(areas_.driver, (2 * size) + 6))) {
      return true;
    }
    for (const auto& [head, buffers] : in_flight_) {
      for (const Buffer& buffer : buffers) {
        if (buffer.write == write && inside(buffer.address, buffer.length)) return true;
      }
    }
    return false;
  }

  /// Whether an element of the used ring that is not due would be written.
  [[nodiscard]] bool spoils(std::uint64_t address, std::uint64_t count) const {
    for (std::uint64_t at = address; at < address + count; ++at) {
      const std::uint64_t first = areas_.device + kSnoopedEntries;
      if (at < first || at >= first + (kSnoopedElement * areas_.size)) continue;
      const std::uint64_t slot = (at - first) / kSnoopedElement;
      if ((slot + areas_.size - (used_ % areas_.size)) % areas_.size >= in_flight_.size()) {
        return true;
      }
    }
    return false;
  }

  [[nodiscard]] bool is_open() const { return open_; }
  [[nodiscard]] std::uint16_t used() const { return used_; }
  [[nodiscard]] std::vector<std::uint32_t> heads() const {
    std::vector<std::uint32_t> heads;
    heads.reserve(in_flight_.size());
    for (const auto& [head, buffers] : in_flight_)
      heads.push_back(head);
    return heads;
  }
  [[nodiscard]] std::vector<Buffer> buffers() const {
    std::vector<Buffer> all;
    for (const auto& [head, buffers] : in_flight_)
      all.insert(all.end(), buffers.begin(), buffers.end());
    return all;
  }

 private:
  void close() { open_ = false; }

  [[nodiscard]] std::optional<airlock_descriptor> read(std::uint64_t address) const {
    const std::uint64_t at = address - kSnoopedBase;
    if (at > kSnoopedRam - AIRLOCK_DESC_BYTES) return std::nullopt;
    const auto wire = ram_.snapshot<spec::VirtqDesc>(at);
    return airlock_descriptor{.address = wire.addr.get(),
                              .length = wire.len.get(),
                              .flags = wire.flags.get(),
                              .next = wire.next.get()};
  }

  [[nodiscard]] std::optional<std::vector<Buffer>> chain(std::uint16_t head) const {
    std::vector<Buffer> all;
    std::uint64_t table = areas_.descriptors;
    std::uint64_t entries = areas_.size;
    std::uint64_t bytes = 0;
    std::uint32_t buffers = 0;
    bool in_table = false;
    bool writing = false;
    for (std::uint64_t index = head;;) {
      if (index >= entries || buffers == areas_.size) return std::nullopt;
      const auto one = read(table + (index * AIRLOCK_DESC_BYTES));
      if (!one || one->length == 0 || one->flags > 7) return std::nullopt;
      if (one->address + (one->length - 1) < one->address) return std::nullopt;
      const bool names_table = (one->flags & AIRLOCK_DESC_INDIRECT) != 0;
      const bool goes_on = (one->flags & AIRLOCK_DESC_NEXT) != 0;
      const bool writes = !names_table && (one->flags & AIRLOCK_DESC_WRITE) != 0;
      all.push_back({.address = one->address, .length = one->length, .write = writes});
      if (names_table) {
        if (!indirect_ || in_table || goes_on) return std::nullopt;
        entries = one->length / AIRLOCK_DESC_BYTES;
        if (one->length % AIRLOCK_DESC_BYTES != 0 || entries > areas_.size) return std::nullopt;
        table = one->address;
        in_table = true;
        index = 0;
        continue;
      }
      bytes += one->length;
      if (bytes > UINT32_MAX || (writing && !writes)) return std::nullopt;
      writing = writes;
      ++buffers;
      if (!goes_on) return all;
      index = one->next;
    }
  }

  const shm::SharedBytes& ram_;
  SnoopedAreas areas_;
  bool open_ = false;
  bool indirect_ = false;
  std::map<std::uint32_t, std::vector<Buffer>> in_flight_;
  std::uint16_t available_ = 0;
  std::uint16_t used_ = 0;
  std::vector<std::byte> used_ring_;
};

class SnoopSession {
 public:
  SnoopSession(FuzzedDataProvider& data, SnoopedMemory& memory)
      : data_(data), ram_(memory.mapping.bytes()), naive_(ram_) {
    ram_.fill_zero(0, kSnoopedRam);
    snooper_.map({.address = window::BusAddress{kSnoopedBase},
                  .size = kSnoopedRam,
                  .file_offset = 0,
                  .protection = shm::Protection::kRead},
                 memory.file);
    reset();
  }

  void run() {
    while (data_.remaining_bytes() > 0) {
      // What is closed stays so, and says little.
      if (!naive_.is_open() && data_.ConsumeIntegralInRange(0, 3) != 0) reset();
      switch (data_.ConsumeIntegralInRange(0, 15)) {
        case 0:
          reset();
          break;
        case 1:
        case 2:
        case 3:
          device_writes();
          break;
        case 4:
        case 5:
          make_available();
          break;
        default:
          put_descriptors();
      }
      look();
    }
  }

 private:
  // In another life, elsewhere or not.
  void reset() {
    features_ = spec::feature(spec::VIRTIO_F_VERSION_1);
    for (const unsigned bit : {spec::VIRTIO_F_INDIRECT_DESC, spec::VIRTIO_F_EVENT_IDX}) {
      if (data_.ConsumeIntegralInRange(0, 3) != 0) features_ |= spec::feature(bit);
    }
    if (data_.ConsumeIntegralInRange(0, 31) == 0) {
      features_ |= spec::feature(spec::VIRTIO_F_RING_PACKED);
    }
    const std::uint64_t at = kSnoopedBase + (data_.ConsumeBool() ? 0x400 : 0);
    const bool odd = data_.ConsumeIntegralInRange(0, 31) == 0;
    const auto shift = data_.ConsumeIntegralInRange<unsigned>(0, 3);
    queues_[0] = {.size = static_cast<std::uint16_t>(odd ? shift + 3 : 1U << shift),
                  .descriptors = at,
                  .driver = at + 0x100,
                  .device = at + 0x200,
                  .life = ++life_};
    ram_.fill_zero(0, kSnoopedTable);
    naive_.open(queues_[0], features_);
  }

  void put_descriptors() {
    const bool in_table = data_.ConsumeBool();
    const std::uint64_t table = in_table ? kSnoopedTable : queues_[0].descriptors - kSnoopedBase;
    const auto first = data_.ConsumeIntegralInRange<std::uint16_t>(0, queues_[0].size - 1);
    const auto end = data_.ConsumeIntegralInRange<std::uint16_t>(first, queues_[0].size);
    for (std::uint16_t index = first; index < end; ++index) {
      spec::VirtqDesc one = any_descriptor(index);
      if (!in_table && data_.ConsumeIntegralInRange(0, 7) == 0) {
        one.addr = Le64(kSnoopedBase + kSnoopedTable);
        one.len = Le32(AIRLOCK_DESC_BYTES * data_.ConsumeIntegralInRange<std::uint32_t>(0, 9));
        one.flags = Le16(static_cast<std::uint16_t>(AIRLOCK_DESC_INDIRECT |
                                                    (one.flags.get() & AIRLOCK_DESC_WRITE)));
      }
      ram_.put(table + (std::uint64_t{index} * AIRLOCK_DESC_BYTES), one);
    }
  }

  // One in 32 is anything.
  spec::VirtqDesc any_descriptor(std::uint16_t index) {
    if (data_.ConsumeIntegralInRange(0, 31) == 0) {
      return {.addr = Le64(data_.ConsumeIntegral<std::uint64_t>()),
              .len = Le32(data_.ConsumeIntegral<std::uint32_t>()),
              .flags = Le16(data_.ConsumeIntegral<std::uint16_t>()),
              .next = Le16(data_.ConsumeIntegral<std::uint16_t>())};
    }
    const auto next = static_cast<std::uint16_t>(
        index + (data_.ConsumeIntegralInRange(0, 7) == 0 ? data_.ConsumeIntegralInRange(0, 7) : 1));
    return {.addr = Le64(kSnoopedBase + kSnoopedTable +
                         data_.ConsumeIntegralInRange<std::uint64_t>(0, kSnoopedRam)),
            .len = Le32(data_.ConsumeIntegralInRange<std::uint32_t>(1, 64)),
            .flags = Le16(data_.ConsumeIntegralInRange<std::uint16_t>(0, 3)),
            .next = Le16(static_cast<std::uint16_t>(next % queues_[0].size))};
  }

  // Mostly one that is not in flight.
  std::uint16_t any_head() {
    auto head = data_.ConsumeIntegralInRange<std::uint16_t>(0, queues_[0].size - 1);
    if (data_.ConsumeIntegralInRange(0, 31) == 0) {
      return static_cast<std::uint16_t>(head + (queues_[0].size / 2));
    }
    const std::vector<std::uint32_t> taken = naive_.heads();
    while (taken.size() < queues_[0].size && std::ranges::find(taken, head) != taken.end())
      head = static_cast<std::uint16_t>((head + 1) % queues_[0].size);
    return head;
  }

  void make_available() {
    const std::uint64_t ring = queues_[0].driver - kSnoopedBase;
    std::uint16_t index = ram_.snapshot<Le16>(ring + 2).get();
    const auto count = data_.ConsumeIntegralInRange<std::uint16_t>(0, 3);
    for (std::uint16_t i = 0; i < count; ++i, ++index) {
      const std::uint64_t slot = index % queues_[0].size;
      ram_.put(ring + kSnoopedEntries + (2 * slot), Le16(any_head()));
    }
    if (data_.ConsumeIntegralInRange(0, 63) == 0) index = data_.ConsumeIntegral<std::uint16_t>();
    ram_.put(ring + 2, Le16(index));
  }

  // As the guard has it: looked at first, then told. Mostly an element that is due, and its index.
  void device_writes() {
    const std::uint64_t device = queues_[0].device;
    const std::vector<std::uint32_t> heads = naive_.heads();
    if (heads.empty() || data_.ConsumeIntegralInRange(0, 7) == 0) {
      const auto bytes = data_.ConsumeBytes<std::byte>(
          data_.ConsumeIntegralInRange<std::size_t>(1, 2 * kSnoopedElement));
      return write(device + data_.ConsumeIntegralInRange<std::uint64_t>(0, 80), bytes);
    }
    const std::uint32_t head =
        heads[data_.ConsumeIntegralInRange<std::size_t>(0, heads.size() - 1)];
    const std::uint64_t slot = naive_.used() % queues_[0].size;
    std::vector<std::byte> element = vfio_user::bytes_of(Le32(head));
    vfio_user::append_struct(element, Le32(0));
    write(device + kSnoopedEntries + (kSnoopedElement * slot), element);
    write(device + 2, vfio_user::bytes_of(Le16(static_cast<std::uint16_t>(naive_.used() + 1))));
  }

  void write(std::uint64_t address, std::span<const std::byte> bytes) {
    if (bytes.empty() || !invites(true, address, bytes.size())) return;
    const bool keeps = snooper_.keeps_used_elements(address, bytes.size());
    CHECK(keeps != naive_.spoils(address, bytes.size()));
    if (!keeps) return;
    snooper_.wrote(address, bytes);
    naive_.wrote(address, bytes);
  }

  bool invites(bool write, std::uint64_t address, std::uint64_t count) {
    snooper_.follow(queues_, features_);
    naive_.follow();
    const auto queues = snooper_.queues();
    const bool invited =
        !queues.empty() && airlock_snoop_invites(&queues.front(), write, address, count);
    CHECK(invited == naive_.invites(write, address, count));
    return invited;
  }

  // At the edges of all that is invited, and of what was when it was looked last.
  void look() {
    static_cast<void>(invites(false, kSnoopedBase, 1));  // follows
    std::vector<NaiveSnooper::Buffer> now = naive_.buffers();
    const SnoopedAreas& areas = queues_[0];
    const std::uint64_t size = areas.size;
    now.push_back({.address = areas.descriptors, .length = 16 * size});
    now.push_back({.address = areas.driver, .length = (2 * size) + 6});
    now.push_back({.address = areas.device, .length = (8 * size) + 6});
    for (const auto* const all : {&now, &before_}) {
      for (const NaiveSnooper::Buffer& one : *all) {
        if (one.address == 0 || one.address > 2 * kSnoopedBase || one.length > kSnoopedRam)
          continue;
        for (const bool write : {false, true}) {
          static_cast<void>(invites(write, one.address, one.length));
          static_cast<void>(invites(write, one.address, one.length + 1));
          static_cast<void>(invites(write, one.address - 1, 1));
        }
      }
    }
    before_ = std::move(now);
  }

  FuzzedDataProvider& data_;
  shm::SharedBytes ram_;
  Snooper snooper_;
  NaiveSnooper naive_;
  std::map<std::uint16_t, SnoopedAreas> queues_;
  std::uint64_t features_ = 0;
  std::uint32_t life_ = 0;
  std::vector<NaiveSnooper::Buffer> before_;
};

}  // namespace
}  // namespace airlock::guard

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static airlock::guard::SnoopedMemory memory;
  FuzzedDataProvider data(bytes, size);
  airlock::guard::SnoopSession(data, memory).run();
  return 0;
}
