// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"

namespace airlock::device {

/// What a virtiofsd that begins takes over from one that ended: the stream that its live migration
/// passes through the front end, version 1, which all later versions take too. It is in the format
/// of postcard (https://postcard.jamesmunns.com): structs as their fields in order, integers as
/// LEB128, signed ones zigzagged, a list after its length, a variant after its number.
struct VirtiofsdState {
  struct Inode {
    std::uint64_t id = 0;
    std::uint64_t references = 0;  // the driver's lookups, and one of each inode below
    std::uint64_t parent = 0;
    std::string name;  // UTF-8, of a file in the parent
  };
  struct Handle {
    std::uint64_t id = 0;
    std::uint64_t inode = 0;
    std::uint32_t flags = 0;  // of open(2)
  };

  std::uint64_t root_references = 0;
  // Initialized for GCC, where they are left out.
  // NOLINTNEXTLINE(readability-redundant-member-init)
  std::vector<Inode> inodes{};  // without the root; a parent before what is in it
  std::uint64_t next_inode = 0;
  // NOLINTNEXTLINE(readability-redundant-member-init)
  std::vector<Handle> handles{};
  std::uint64_t next_handle = 0;
  bool writeback = false;
  bool announce_submounts = false;
  bool posix_acl = false;
  bool supplementary_groups = false;

  [[nodiscard]] std::vector<std::byte> encode() const;
};

/// A file with these bytes and nothing else, for another process to read from its beginning.
/// Errors: kSystem.
Result<Fd> file_with(std::span<const std::byte> bytes);

}  // namespace airlock::device
