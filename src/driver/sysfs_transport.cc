// SPDX-License-Identifier: Apache-2.0
#include "driver/sysfs_transport.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/le.h"
#include "core/range.h"
#include "driver/sysfs_file.h"

namespace airlock::driver {

namespace {

// Flags in the file `resource`: the kernel's IORESOURCE_*.
constexpr std::uint64_t kResourceMemory = 0x200;
// Of a register BAR at most this is mapped: what the device claims is not what we need.
constexpr std::uint64_t kRegistersMax = std::uint64_t{1} << 24;

// The next hexadecimal number of `text`, which is shortened.
std::optional<std::uint64_t> take_number(std::string_view& text) {
  const std::size_t start = text.find_first_not_of(" \n");
  if (start == std::string_view::npos) return std::nullopt;
  text.remove_prefix(start);
  if (!text.starts_with("0x")) return std::nullopt;
  text.remove_prefix(2);
  std::uint64_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (result.ec != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(result.ptr - text.data()));
  return value;
}

}  // namespace

bool SysfsTransport::is_address(std::string_view text) {
  constexpr std::string_view kForm = "hhhh:hh:hh.o";
  if (text.size() != kForm.size()) return false;
  return std::equal(text.begin(), text.end(), kForm.begin(), [](char found, char wanted) {
    if (wanted == 'h') return (found >= '0' && found <= '9') || (found >= 'a' && found <= 'f');
    if (wanted == 'o') return found >= '0' && found <= '7';
    return found == wanted;
  });
}

Result<std::unique_ptr<SysfsTransport>> SysfsTransport::open(const Options& options) {
  if (!is_address(options.address)) return fail(Errc::kMalformed);
  std::unique_ptr<SysfsTransport> transport(
      new SysfsTransport(options.root + "/" + options.address));
  const std::string& folder = transport->folder_;
  if (access(folder.c_str(), F_OK) != 0) return fail(system_error(ENODEV));
  if (access((folder + "/driver").c_str(), F_OK) == 0) return fail(system_error(EBUSY));
  if (!lockdown_of(options.lockdown).empty()) return fail(system_error(EPERM));
  transport->config_ = TRY(own_fd(::open((folder + "/config").c_str(), O_RDWR | O_CLOEXEC)));
  TRY(transport->read_resources());
  TRY(transport->enable());
  return transport;
}

// One line a resource: start, end, flags.
Result<void> SysfsTransport::read_resources() {
  const std::string text = TRY(read_sysfs(folder_ + "/resource"));
  std::string_view rest = text;
  for (std::size_t bar = 0; bar < bar_sizes_.size(); bar++) {
    const auto start = take_number(rest);
    const auto end = take_number(rest);
    const auto flags = take_number(rest);
    if (!start || !end || !flags || *end < *start) return fail(Errc::kMalformed);
    if ((*flags & kResourceMemory) == 0 || *start == 0) continue;
    addresses_[bar] = *start;
    bar_sizes_[bar] = *end - *start + 1;
  }
  return {};
}

// The file `enable` wakes a device that the kernel put to sleep when its driver left. It counts:
// who finds it enabled leaves it alone.
Result<void> SysfsTransport::enable() {
  const auto enabled = read_sysfs(folder_ + "/enable");
  if (enabled && enabled->starts_with('0')) TRY(write_sysfs(folder_ + "/enable", "1"));
  Le16 command;
  TRY(read_config(spec::PCI_COMMAND, std::as_writable_bytes(std::span(&command, 1))));
  command.set(command.get() | spec::PCI_COMMAND_MEMORY | spec::PCI_COMMAND_MASTER |
              spec::PCI_COMMAND_INTX_DISABLE);
  return write_config(spec::PCI_COMMAND, std::as_bytes(std::span(&command, 1)));
}

Result<void> SysfsTransport::read_config(std::uint16_t offset, std::span<std::byte> target) {
  const ssize_t got = pread(config_.get(), target.data(), target.size(), offset);
  if (got < 0) return fail(system_error());
  // Without root only the header can be read.
  if (static_cast<std::size_t>(got) != target.size()) return fail(system_error(EPERM));
  return {};
}

Result<void> SysfsTransport::write_config(std::uint16_t offset, std::span<const std::byte> source) {
  const ssize_t put = pwrite(config_.get(), source.data(), source.size(), offset);
  if (put < 0) return fail(system_error());
  if (static_cast<std::size_t>(put) != source.size()) return fail(system_error(EIO));
  return {};
}

Result<std::uint64_t> SysfsTransport::read(const Register& from) {
  const shm::SharedBytes bytes = TRY(registers_of(from));
  switch (from.width) {
    case Width::k1:
      return bytes.load_relaxed<std::uint8_t>(from.offset);
    case Width::k2:
      return bytes.load_relaxed<Le16>(from.offset).get();
    case Width::k4:
      return bytes.load_relaxed<Le32>(from.offset).get();
    case Width::k8:
      return bytes.load_relaxed<Le64>(from.offset).get();
  }
  return fail(Errc::kUnsupported);
}

Result<void> SysfsTransport::write(const Register& to, std::uint64_t value) {
  const shm::SharedBytes bytes = TRY(registers_of(to));
  // Release: what was written to the region before is there before the register changes.
  switch (to.width) {
    case Width::k1:
      bytes.store_release<std::uint8_t>(to.offset, static_cast<std::uint8_t>(value));
      return {};
    case Width::k2:
      bytes.store_release<Le16>(to.offset, Le16(static_cast<std::uint16_t>(value)));
      return {};
    case Width::k4:
      bytes.store_release<Le32>(to.offset, Le32(static_cast<std::uint32_t>(value)));
      return {};
    case Width::k8:
      bytes.store_release<Le64>(to.offset, Le64(value));
      return {};
  }
  return fail(Errc::kUnsupported);
}

Result<MappedRegion> SysfsTransport::map(const pci::BarRange& range) {
#if defined(__x86_64__)
  if (range.bar >= bar_sizes_.size() ||
      !airlock_range_within(range.offset, range.length, bar_sizes_[range.bar])) {
    return fail(Errc::kNoRegion);
  }
  MappedRegion mapped;
  mapped.mapping = TRY(map_bar(range.bar, range.offset, range.length));
  mapped.bus_address = window::BusAddress{addresses_[range.bar] + range.offset};
  return mapped;
#else
  (void)range;
  return fail(Errc::kUnsupported);
#endif
}

Result<void> SysfsTransport::enable_interrupts(const pci::MsixLocation& /*msix*/,
                                               std::uint16_t /*count*/) {
  return fail(Errc::kUnsupported);
}

Result<void> SysfsTransport::reset() {
  const auto fd = own_fd(::open((folder_ + "/reset").c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return fail(Errc::kUnsupported);
  if (::write(fd->get(), "1", 1) != 1) return fail(system_error());
  return enable();
}

// The kernel lets nobody change a resource file's size: it is the BAR.
Result<shm::Mapping> SysfsTransport::map_bar(std::uint8_t bar, std::uint64_t offset,
                                             std::uint64_t length) const {
  const std::string path = folder_ + "/resource" + std::to_string(bar);
  const Fd fd = TRY(own_fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_SYNC)));
  struct stat status = {};
  if (fstat(fd.get(), &status) < 0) return fail(system_error());
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size != bar_sizes_[bar]) return fail({.code = Errc::kWrongSize, .address = size});
  return shm::Mapping::map(fd, {.offset = offset, .length = length});
}

// A BAR's registers are mapped when they are first used.
Result<shm::SharedBytes> SysfsTransport::registers_of(const Register& where) {
  const auto width = static_cast<std::uint64_t>(where.width);
  const std::uint64_t size =
      where.bar < bar_sizes_.size() ? std::min(bar_sizes_[where.bar], kRegistersMax) : 0;
  if (!airlock_range_within(where.offset, width, size)) {
    return fail({.code = Errc::kOutOfRange,
                 .detail = static_cast<std::uint32_t>(width),
                 .address = where.offset});
  }
  if (!airlock_is_aligned(where.offset, width)) {
    return fail({.code = Errc::kNotAligned,
                 .detail = static_cast<std::uint32_t>(width),
                 .address = where.offset});
  }
  const std::scoped_lock held(lock_);
  shm::Mapping& mapping = registers_[where.bar];
  if (mapping.bytes().empty()) mapping = TRY(map_bar(where.bar, 0, size));
  return mapping.bytes();
}

}  // namespace airlock::driver
