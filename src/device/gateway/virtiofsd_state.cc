// SPDX-License-Identifier: Apache-2.0
#include "device/gateway/virtiofsd_state.h"

#include <sys/mman.h>
#include <unistd.h>

#include <utility>

#include "spec/fuse.h"

namespace airlock::device {

namespace {

// Variants, by number.
constexpr std::uint64_t kVersion1 = 0;
constexpr std::uint64_t kRootNode = 0;
constexpr std::uint64_t kPath = 1;
constexpr std::uint64_t kOpenInode = 0;
constexpr std::uint64_t kNone = 0;

class Stream {
 public:
  void put(std::uint64_t number) {
    for (; number >= 0x80; number >>= 7U)
      bytes_.push_back(static_cast<std::byte>(number | 0x80U));
    bytes_.push_back(static_cast<std::byte>(number));
  }
  void put_signed(std::int32_t number) {
    const auto doubled = static_cast<std::uint32_t>(number) << 1U;
    put(number < 0 ? ~doubled : doubled);
  }
  void put(const std::string& text) {
    put(text.size());
    const auto bytes = std::as_bytes(std::span(text));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace

std::vector<std::byte> VirtiofsdState::encode() const {
  Stream stream;
  stream.put(kVersion1);
  stream.put(inodes.size() + 1);
  stream.put(spec::FUSE_ROOT_ID);
  stream.put(root_references);
  stream.put(kRootNode);
  stream.put(kNone);  // a file handle to compare it with
  for (const Inode& inode : inodes) {
    stream.put(inode.id);
    stream.put(inode.references);
    stream.put(kPath);
    stream.put(inode.parent);
    stream.put(inode.name);
    stream.put(kNone);
  }
  stream.put(next_inode);
  stream.put(handles.size());
  for (const Handle& handle : handles) {
    stream.put(handle.id);
    stream.put(handle.inode);
    stream.put(kOpenInode);
    stream.put_signed(static_cast<std::int32_t>(handle.flags));
  }
  stream.put(next_handle);
  for (const bool option : {writeback, announce_submounts, posix_acl, supplementary_groups})
    stream.put(std::uint64_t{option});
  return stream.take();
}

Result<Fd> file_with(std::span<const std::byte> bytes) {
  Fd file = TRY(own_fd(memfd_create("airlock-session", MFD_CLOEXEC)));
  // Where it is read stays the beginning.
  for (off_t at = 0; !bytes.empty();) {
    const ssize_t written = pwrite(file.get(), bytes.data(), bytes.size(), at);
    if (written < 0) return fail(system_error());
    at += written;
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return file;
}

}  // namespace airlock::device
