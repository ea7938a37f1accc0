// SPDX-License-Identifier: Apache-2.0
//
// What is behind the region's BAR: memory that can be taken away under whoever maps it, or memory
// that is somebody else's. To be ordered before a client comes.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <fmt/core.h>

#include "testing/attack/attacks.h"

namespace airlock::testing::attack {

namespace {

std::string show(Hostile& self, Result<Fd> fd, std::uint64_t size) {
  if (!fd || ftruncate(fd->get(), static_cast<off_t>(size)) != 0)
    return fmt::format("shown=0 errno={}", errno);
  self.endpoint.show_region(std::move(*fd));
  return "shown=1";
}

Result<Fd> memfd(unsigned flags) {
  return own_fd(memfd_create("airlock-region", MFD_CLOEXEC | flags));
}

// As large as it should be, and not sealed.
std::string unsealed(Hostile& self, Words /*words*/) {
  return show(self, memfd(MFD_ALLOW_SEALING), self.disk.memfd.size());
}

// Sealed in size, but the seals are still open: more could follow that forbid writing.
std::string half_sealed(Hostile& self, Words /*words*/) {
  std::string shown = unsealed(self, {});
  fcntl(self.endpoint.shown().get(), F_ADD_SEALS, F_SEAL_GROW);
  return shown;
}

// Sealed, and smaller than the BAR.
std::string small(Hostile& self, Words /*words*/) {
  std::string shown = show(self, memfd(MFD_ALLOW_SEALING), self.disk.memfd.size() / 2);
  fcntl(self.endpoint.shown().get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  return shown;
}

// PATH: a file of that name, which anybody can truncate.
std::string file(Hostile& self, Words words) {
  return show(self, own_fd(open(words[0].c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)),
              self.disk.memfd.size());
}

// PATH: something that is no file at all, such as /dev/zero.
std::string device_node(Hostile& self, Words words) {
  auto fd = own_fd(open(words[0].c_str(), O_RDWR | O_CLOEXEC));
  if (!fd) return fmt::format("shown=0 errno={}", errno);
  self.endpoint.show_region(std::move(*fd));
  return "shown=1";
}

// The client's own memory, as soon as it offers some.
std::string offered_memory(Hostile& self, Words /*words*/) {
  self.endpoint.show_when_found([&self] {
    for (const GreedyEndpoint::Offer& offer : self.endpoint.offers()) {
      if (offer.fd) return MUST(offer.fd.duplicate());
    }
    return Fd();
  });
  return "shown=1";
}

bool names(const std::string& file, const std::string& word) {
  std::ifstream stream(file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  return text.find(word) != std::string::npos;
}

// A memory backend's file of the VM whose command line has that word in it, by way of /proc.
Fd steal_memory(const std::string& word) {
  namespace fs = std::filesystem;
  std::error_code error;
  for (const auto& process : fs::directory_iterator("/proc", error)) {
    const fs::path fds = process.path() / "fd";
    if (!names(process.path() / "cmdline", "qemu-system") ||
        !names(process.path() / "cmdline", word))
      continue;
    for (const auto& fd : fs::directory_iterator(fds, error)) {
      if (!fs::read_symlink(fd, error).string().starts_with("/memfd:memory-backend")) continue;
      return Fd(open(fd.path().c_str(), O_RDWR | O_CLOEXEC));
    }
  }
  return {};
}

// WORD: the same, of the VM that has that word in its command line, without having been offered it.
std::string stolen_memory(Hostile& self, Words words) {
  self.endpoint.show_when_found([word = words[0]] { return steal_memory(word); });
  return "shown=1";
}

// Takes the memory away.
std::string shrink(Hostile& self, Words /*words*/) {
  const bool done = ftruncate(self.endpoint.shown().get(), 0) == 0;
  return fmt::format("shrunk={} errno={}", done ? 1 : 0, done ? 0 : errno);
}

constexpr std::array<Attack, 8> kRegionAttacks = {{
    {.name = "region-unsealed", .words = "", .count = 0, .run = unsealed},
    {.name = "region-half-sealed", .words = "", .count = 0, .run = half_sealed},
    {.name = "region-small", .words = "", .count = 0, .run = small},
    {.name = "region-file", .words = "PATH", .count = 1, .run = file},
    {.name = "region-node", .words = "PATH", .count = 1, .run = device_node},
    {.name = "region-offered-memory", .words = "", .count = 0, .run = offered_memory},
    {.name = "region-stolen-memory", .words = "WORD", .count = 1, .run = stolen_memory},
    {.name = "shrink", .words = "", .count = 0, .run = shrink},
}};

}  // namespace

std::span<const Attack> region_attacks() {
  return kRegionAttacks;
}

}  // namespace airlock::testing::attack
