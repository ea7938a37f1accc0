// SPDX-License-Identifier: Apache-2.0
#include "testing/attack/greedy_endpoint.h"

#include <utility>

#include "spec/vfio_user.h"

namespace airlock::testing::attack {

namespace {

// The disk itself has no others.
bool is_msix(std::uint32_t index) {
  return index == spec::VFIO_PCI_MSIX_IRQ_INDEX;
}

}  // namespace

GreedyEndpoint::GreedyEndpoint(FakeDiskDevice& device, const Options& options)
    : honest_(device, no_lies_), options_(options) {}

Result<Fd> GreedyEndpoint::eventfd(std::uint32_t index, std::uint32_t number) const {
  const auto found = eventfds_.find({index, number});
  if (found == eventfds_.end()) return fail(Errc::kWrongState);
  return found->second.duplicate();
}

// The eventfds stay: a client that has left may still listen to them.
void GreedyEndpoint::disconnected() {
  honest_.disconnected();
}

vfio_user::RegionInfo GreedyEndpoint::region(std::uint32_t index) {
  vfio_user::RegionInfo region = honest_.region(index);
  if (!region.mapping) return region;
  if (!options_.mapped) {
    region.mapping.reset();
    return region;
  }
  if (!shown_ && find_) shown_ = find_();
  if (shown_) region.mapping->fd = shown_.get();
  return region;
}

// An error interrupt as well, which a real device would have for a good reason.
std::uint32_t GreedyEndpoint::irq_count(std::uint32_t index) {
  return index == spec::VFIO_PCI_ERR_IRQ_INDEX ? 1U : honest_.irq_count(index);
}

Result<void> GreedyEndpoint::read(std::uint32_t region, std::uint64_t offset,
                                  std::span<std::byte> target) {
  return honest_.read(region, offset, target);
}

Result<void> GreedyEndpoint::write(std::uint32_t region, std::uint64_t offset,
                                   std::span<const std::byte> source) {
  return honest_.write(region, offset, source);
}

Result<void> GreedyEndpoint::set_irq_eventfds(std::uint32_t index, std::uint32_t start,
                                              std::vector<Fd> eventfds) {
  std::uint32_t number = start;
  for (const Fd& fd : eventfds)
    eventfds_.insert_or_assign({index, number++}, TRY(fd.duplicate()));
  if (!is_msix(index)) return {};
  return honest_.set_irq_eventfds(index, start, std::move(eventfds));
}

Result<void> GreedyEndpoint::deassign_irqs(std::uint32_t index, std::uint32_t start,
                                           std::uint32_t count) {
  return is_msix(index) ? honest_.deassign_irqs(index, start, count) : Result<void>();
}

Result<void> GreedyEndpoint::disable_irqs(std::uint32_t index) {
  return is_msix(index) ? honest_.disable_irqs(index) : Result<void>();
}

Result<void> GreedyEndpoint::trigger_irq(std::uint32_t index, std::uint32_t start,
                                         std::uint32_t count) {
  return is_msix(index) ? honest_.trigger_irq(index, start, count) : Result<void>();
}

void GreedyEndpoint::dma_map(const vfio_user::DmaRange& range, Fd fd, vfio_user::Reply reply) {
  offers_.push_back({.range = range, .fd = std::move(fd)});
  reply({});
}

void GreedyEndpoint::dma_unmap(std::uint64_t /*address*/, std::uint64_t /*size*/, bool /*all*/,
                               vfio_user::Reply reply) {
  reply({});
}

}  // namespace airlock::testing::attack
