// SPDX-License-Identifier: Apache-2.0
#include "device/endpoint.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/log.h"
#include "device/running_model.h"
#include "spec/vfio_user.h"

namespace airlock::device {

/// What one client has: made when it comes (the first when the endpoint is), gone when it goes.
struct Endpoint::Session {
  Session(shm::SealedMemfd file, shm::Mapping mapped, const MakeClientModel& make_model)
      : memfd(std::move(file)),
        mapping(std::move(mapped)),
        window(mapping.bytes()),
        model(make_model({.window = window, .region = memfd})) {}

  [[nodiscard]] View view() const {
    const window::Touched touched = window.touched();
    const bool bus = touched.mode == window::AddressMode::kBus;
    return {.region_first = bus ? std::to_underlying(window.region_bus_base()) : 0,
            .region_bytes = window.region().size(),
            .queues = model->setups(),
            .touched = touched};
  }

  shm::SealedMemfd memfd;
  shm::Mapping mapping;
  window::Window window;
  std::unique_ptr<ClientModel> model;
  std::unique_ptr<pci::VirtioPciDevice> pci;
};

Result<std::unique_ptr<Endpoint>> Endpoint::create(Options options, DeviceType& type) {
  const QueueSet::Options queues{.post = options.post, .poll = options.poll, .on_broken = {}};
  const auto make_model = [&type, queues, states = options.states](const ClientMemory& memory) {
    return std::make_unique<RunningModel>(type, memory.window, queues, states);
  };
  std::unique_ptr<Endpoint> endpoint(new Endpoint(std::move(options), make_model));
  type.attach({.post = endpoint->options_.post,
               .config_changed = [raw = endpoint.get()] { raw->config_changed(); }});
  endpoint->session_ = TRY(endpoint->make_session());
  return endpoint;
}

Result<std::unique_ptr<Endpoint>> Endpoint::create(Options options, MakeClientModel make_model) {
  std::unique_ptr<Endpoint> endpoint(new Endpoint(std::move(options), std::move(make_model)));
  endpoint->session_ = TRY(endpoint->make_session());
  return endpoint;
}

Endpoint::Endpoint(Options options, MakeClientModel make_model)
    : options_(std::move(options)), make_model_(std::move(make_model)) {}

Endpoint::~Endpoint() {
  drain();
  if (is_inside_) options_.shared->leave();
}

Result<std::unique_ptr<Endpoint::Session>> Endpoint::make_session() {
  shm::SealedMemfd memfd = TRY(next_region());
  shm::Mapping mapping = TRY(memfd.map());
  auto session = std::make_unique<Session>(std::move(memfd), std::move(mapping), make_model_);
  session->pci = TRY(pci::VirtioPciDevice::create(options_.pci, *session->model, session->window));
  session->model->attach(*session->pci);
  return session;
}

Result<shm::SealedMemfd> Endpoint::next_region() {
  if (options_.shared) return options_.shared->file();
  if (options_.region.fd()) return std::exchange(options_.region, {});
  // Whatever queues there were, nothing of them is in a new region.
  if (options_.states != nullptr) options_.states->forget_all();
  return shm::SealedMemfd::create(
      {.name = "airlock-region", .size = options_.region_bytes, .pages = options_.pages});
}

Endpoint::Stats Endpoint::stats() const {
  Stats sum = stats_;
  if (session_ == nullptr) return sum;
  sum.guest_bytes = session_->window.guest_memory().mapped_bytes();
  sum.notifications += session_->model->notifications();
  sum.queues += session_->model->counts();
  sum.violations += session_->pci->violations();
  sum.refusals += session_->pci->refusals();
  sum.view = session_->view();
  return sum;
}

void Endpoint::config_changed() {
  if (session_ != nullptr) session_->pci->interrupt_config();
}

void Endpoint::drain() {
  if (session_ != nullptr) session_->model->drain();
}

void Endpoint::connected() {
  ++stats_.clients;
  Result<void> entered;
  if (options_.shared) {
    end_session();  // of nobody: made before clients of other devices came and went
    entered = options_.shared->enter();
    is_inside_ = true;
  }
  if (session_ != nullptr) return;
  auto made = entered ? make_session() : fail(entered.error());
  if (made) {
    session_ = std::move(*made);
  } else {
    log(LogLevel::kError, "no region for a new client: {}", describe(made.error()));
  }
}

void Endpoint::disconnected() {
  end_session();
  if (std::exchange(is_inside_, false)) options_.shared->leave();
}

void Endpoint::end_session() {
  if (session_ == nullptr) return;
  // Nobody is left to answer, so waiting for I/O keeps nobody waiting; and the next client must not
  // meet requests of this one.
  session_->model->stop_and_wait();
  // A client that kept it keeps no memory of ours, and no data. But where a process may come after
  // this one, the client may have let go of it to start that.
  const bool is_its_own = options_.states == nullptr && !options_.shared;
  if (is_its_own) session_->memfd.discard();
  stats_ = stats();
  stats_.guest_bytes = 0;
  session_.reset();
}

vfio_user::RegionInfo Endpoint::region(std::uint32_t index) {
  if (session_ == nullptr) return {};
  const auto info = session_->pci->region_info(index);
  vfio_user::RegionInfo region{
      .size = info.size, .readable = info.size != 0, .writable = info.size != 0, .mapping = {}};
  if (info.mappable) {
    region.mapping = vfio_user::RegionMapping{.fd = session_->memfd.fd().get(),
                                              .file_offset = 0,
                                              .area = {.offset = 0, .size = info.size}};
  }
  return region;
}

// Of 2 bytes, as a notification without data is; one with data is a write of 4, and a message.
std::vector<vfio_user::Doorbell> Endpoint::doorbells(std::uint32_t index) {
  std::vector<vfio_user::Doorbell> found;
  if (session_ == nullptr || index != pci::kRegistersBar) return found;
  for (std::uint16_t queue = 0; queue < session_->model->queue_count(); ++queue) {
    const auto doorbell = session_->model->doorbell(queue);
    if (!doorbell) break;  // a client does without
    found.push_back({.offset = pci::notify_offset(queue), .size = 2, .fd = (*doorbell)->fd()});
  }
  return found;
}

std::uint32_t Endpoint::irq_count(std::uint32_t index) {
  if (session_ == nullptr || index != spec::VFIO_PCI_MSIX_IRQ_INDEX) return 0;
  return session_->pci->vectors().count();
}

Result<void> Endpoint::read(std::uint32_t region, std::uint64_t offset,
                            std::span<std::byte> target) {
  return session_->pci->read(region, offset, target);
}

Result<void> Endpoint::write(std::uint32_t region, std::uint64_t offset,
                             std::span<const std::byte> source) {
  return session_->pci->write(region, offset, source);
}

Result<void> Endpoint::set_irq_eventfds(std::uint32_t /*index*/, std::uint32_t start,
                                        std::vector<Fd> eventfds) {
  auto vector = static_cast<std::uint16_t>(start);
  for (Fd& fd : eventfds) {
    EventFd event = TRY(EventFd::adopt(std::move(fd)));
    if (auto done = session_->pci->vectors().install(vector++, std::move(event)); !done) {
      return done;
    }
  }
  session_->model->vectors_changed();
  return {};
}

Result<void> Endpoint::deassign_irqs(std::uint32_t /*index*/, std::uint32_t start,
                                     std::uint32_t count) {
  for (std::uint32_t i = 0; i < count; ++i) {
    auto done = session_->pci->vectors().install(static_cast<std::uint16_t>(start + i), EventFd());
    if (!done) return done;
  }
  session_->model->vectors_changed();
  return {};
}

Result<void> Endpoint::disable_irqs(std::uint32_t /*index*/) {
  session_->pci->vectors().remove_all();
  session_->model->vectors_changed();
  return {};
}

Result<void> Endpoint::trigger_irq(std::uint32_t /*index*/, std::uint32_t start,
                                   std::uint32_t count) {
  for (std::uint32_t i = 0; i < count; ++i) {
    session_->pci->vectors().fire(static_cast<std::uint16_t>(start + i));
  }
  return {};
}

void Endpoint::dma_map(const vfio_user::DmaRange& range, Fd fd, vfio_user::Reply reply) {
  ++stats_.dma_maps;
  const bool wanted = options_.pci.negotiation.policy != pci::DmaPolicy::kRequire;
  if (!wanted || session_ == nullptr) {
    if (fd) ++stats_.dma_fds_closed;
    fd.reset();
    reply({});
    return;
  }
  if (!fd) {
    // Nothing to map: other devices' BARs, and our own. But a ring may be within reach again.
    change_guest_memory([](window::GuestMemory&) { return Result<void>(); }, std::move(reply));
    return;
  }
  const window::GuestMemory::Range guest{
      .address = window::BusAddress{range.address},
      .size = range.size,
      .file_offset = range.file_offset,
      .protection = range.writable ? shm::Protection::kReadWrite : shm::Protection::kRead};
  auto change = [this, guest,
                 file = std::make_shared<Fd>(std::move(fd))](window::GuestMemory& memory) {
    const Result<void> mapped = memory.map(guest, *file);
    if (mapped) ++stats_.dma_fds_mapped;
    stats_.guest_bytes_max = std::max(stats_.guest_bytes_max, memory.mapped_bytes());
    return mapped;
  };
  change_guest_memory(std::move(change), std::move(reply));
}

void Endpoint::dma_unmap(std::uint64_t address, std::uint64_t size, bool all,
                         vfio_user::Reply reply) {
  if (session_ == nullptr || session_->window.guest_memory().count() == 0) {
    reply({});
    return;
  }
  auto change = [=](window::GuestMemory& memory) -> Result<void> {
    if (!all) return memory.unmap(window::BusAddress{address}, size);
    memory.clear();
    return {};
  };
  change_guest_memory(std::move(change), std::move(reply));
}

void Endpoint::change_guest_memory(std::function<Result<void>(window::GuestMemory&)> change,
                                   vfio_user::Reply reply) {
  if (session_->pci->negotiated().reach != window::Reach::kRegionAndGuest) {
    reply(change(session_->window.guest_memory()));  // no queue can touch it
    return;
  }
  auto answer = std::make_shared<vfio_user::Reply>(std::move(reply));
  session_->model->pause([this, change = std::move(change), answer] {
    const Result<void> changed = change(session_->window.guest_memory());
    session_->model->resume();
    (*answer)(changed);
  });
}

void Endpoint::reset(vfio_user::Reply reply) {
  if (session_ == nullptr) {
    reply({});
    return;
  }
  auto answer = std::make_shared<vfio_user::Reply>(std::move(reply));
  session_->pci->reset([answer] { (*answer)({}); });
}

}  // namespace airlock::device
