// SPDX-License-Identifier: Apache-2.0
//
// What is behind the region's BAR: memory that can be taken away under whoever maps it, or memory
// that is somebody else's. To be ordered before a client comes.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

#include <fmt/core.h>

#include "testing/attack/attacks.h"

namespace airlock::testing {

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
std::string client_memory(Hostile& self, Words /*words*/) {
  self.endpoint.show_offered_memory();
  return "shown=1";
}

// Takes the memory away.
std::string shrink(Hostile& self, Words /*words*/) {
  const bool done = ftruncate(self.endpoint.shown().get(), 0) == 0;
  return fmt::format("shrunk={} errno={}", done ? 1 : 0, done ? 0 : errno);
}

constexpr std::array<Attack, 7> kRegionAttacks = {{
    {.name = "region-unsealed", .words = "", .count = 0, .run = unsealed},
    {.name = "region-half-sealed", .words = "", .count = 0, .run = half_sealed},
    {.name = "region-small", .words = "", .count = 0, .run = small},
    {.name = "region-file", .words = "PATH", .count = 1, .run = file},
    {.name = "region-node", .words = "PATH", .count = 1, .run = device_node},
    {.name = "region-client-memory", .words = "", .count = 0, .run = client_memory},
    {.name = "shrink", .words = "", .count = 0, .run = shrink},
}};

}  // namespace

std::span<const Attack> region_attacks() {
  return kRegionAttacks;
}

}  // namespace airlock::testing
