// SPDX-License-Identifier: Apache-2.0
//
// Where everything of a device meets: the vfio-user server on one side, the PCI device, its region
// and its queues on the other.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "device/client_model.h"
#include "device/device_type.h"
#include "device/queue_set.h"
#include "device/queue_states.h"
#include "device/shared_region.h"
#include "pci/virtio_pci_device.h"
#include "shm/sealed_memfd.h"
#include "vfio_user/handler.h"

namespace airlock::device {

/// One device as its vfio-user clients see it. Each client finds it as after power-on, with a
/// region of its own: what one guest left there no other ever sees, even if the first client keeps
/// its mapping. Control thread only.
///
/// Where another process may take this one's place (Options::states), a client's end is not that of
/// what it left: neither its region nor its queues' records are touched then. A shared region
/// (Options::shared) is not a client's own: SharedRegion says what becomes of it.
///
/// Guest memory: under DmaPolicy::kRequire an fd that comes with DMA_MAP is closed at once,
/// unmapped. Otherwise it is mapped until the client takes it back, and queues are at rest
/// meanwhile.
class Endpoint final : public vfio_user::Handler {
 public:
  struct Options {
    pci::VirtioPciDevice::Options pci;
    std::uint64_t region_bytes = 0;  // a power of two, at least a page
    shm::PageKind pages = shm::PageKind::kNormal;
    QueueSet::Post post;
    PollBudget::Limits poll{.longest = std::chrono::microseconds(100)};
    /// Where queues leave how far they got, for a process that takes this one's place; null: none
    /// will. Outlives the endpoint.
    const QueueStates* states = nullptr;
    /// With `states`: the region of the process whose place this one takes, of region_bytes, for
    /// the first client. Its bytes are that client's, and its queues go on. Empty: there was none.
    // NOLINTNEXTLINE(readability-redundant-member-init): for GCC, where it is left out
    shm::SealedMemfd region{};
    /// The region, of region_bytes, that other devices show as well; null: it has its own. Without
    /// `states`: no other process can take the place of one of them.
    // NOLINTNEXTLINE(readability-redundant-member-init): for GCC, where it is left out
    std::shared_ptr<SharedRegion> shared{};
  };

  /// What the queues of a client work on, in the numbers that its driver wrote: those of now, or
  /// the last there were. All but `region` is empty if there were none.
  struct View {
    std::uint64_t region_first = 0;  // 0 for offsets
    std::uint64_t region_bytes = 0;
    std::vector<pci::QueueSetup> queues;
    window::Touched touched;
  };

  /// Since the start, over all clients; but guest_bytes, which is now, and the view.
  struct Stats {
    std::uint64_t clients = 0;
    std::uint64_t dma_maps = 0;         // DMA_MAP messages
    std::uint64_t dma_fds_closed = 0;   // fds of guest memory that came and were closed at once
    std::uint64_t dma_fds_mapped = 0;   // and that were mapped
    std::uint64_t guest_bytes = 0;      // of guest memory mapped now
    std::uint64_t guest_bytes_max = 0;  // mapped at most
    std::uint64_t notifications = 0;
    QueueCounts queues;
    std::uint64_t violations = 0;
    std::uint64_t refusals = 0;
    View view;
  };

  /// A device whose queues run in this process. `type` outlives it.
  /// Errors: those of SealedMemfd::create() and VirtioPciDevice::create().
  static Result<std::unique_ptr<Endpoint>> create(Options options, DeviceType& type);
  /// One whose queues run wherever the models say: `make_model` is called for each client.
  static Result<std::unique_ptr<Endpoint>> create(Options options, MakeClientModel make_model);
  ~Endpoint() override;

  [[nodiscard]] Stats stats() const;
  /// Finishes what is in flight and returns it to the driver. Waits for I/O: for the process's end.
  void drain();

  void connected() override;
  void disconnected() override;
  vfio_user::RegionInfo region(std::uint32_t index) override;
  std::vector<vfio_user::Doorbell> doorbells(std::uint32_t index) override;
  std::uint32_t irq_count(std::uint32_t index) override;
  Result<void> read(std::uint32_t region, std::uint64_t offset,
                    std::span<std::byte> target) override;
  Result<void> write(std::uint32_t region, std::uint64_t offset,
                     std::span<const std::byte> source) override;
  Result<void> set_irq_eventfds(std::uint32_t index, std::uint32_t start,
                                std::vector<Fd> eventfds) override;
  Result<void> deassign_irqs(std::uint32_t index, std::uint32_t start,
                             std::uint32_t count) override;
  Result<void> disable_irqs(std::uint32_t index) override;
  Result<void> trigger_irq(std::uint32_t index, std::uint32_t start, std::uint32_t count) override;
  void dma_map(const vfio_user::DmaRange& range, Fd fd, vfio_user::Reply reply) override;
  void dma_unmap(std::uint64_t address, std::uint64_t size, bool all,
                 vfio_user::Reply reply) override;
  void reset(vfio_user::Reply reply) override;

 private:
  struct Session;

  Endpoint(Options options, MakeClientModel make_model);
  Result<std::unique_ptr<Session>> make_session();
  Result<shm::SealedMemfd> next_region();
  void end_session();
  void config_changed();
  /// Changes guest memory while no queue uses it, then answers.
  void change_guest_memory(std::function<Result<void>(window::GuestMemory&)> change,
                           vfio_user::Reply reply);

  Options options_;
  MakeClientModel make_model_;
  Stats stats_;  // of the sessions before this one, and what only the endpoint knows
  std::unique_ptr<Session> session_;
  bool is_inside_ = false;  // a client, the region that is shared
};

}  // namespace airlock::device
