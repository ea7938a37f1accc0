// SPDX-License-Identifier: Apache-2.0
#include "testing/attack/search.h"

#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "shm/mapping.h"

namespace airlock::testing::attack {

namespace {

constexpr std::uint64_t kFilePiece = std::uint64_t{1} << 20U;

}  // namespace

std::string find_marked(std::span<const std::byte> bytes, std::string_view mark) {
  const auto wanted = std::as_bytes(std::span(mark));
  const void* const found = memmem(bytes.data(), bytes.size(), wanted.data(), wanted.size());
  if (found == nullptr) return {};
  const auto rest =
      bytes.subspan(static_cast<std::size_t>(static_cast<const std::byte*>(found) - bytes.data()));
  std::string text;
  for (const std::byte byte : rest) {
    const auto letter = std::to_integer<unsigned char>(byte);
    if (std::isalnum(letter) == 0 && letter != '-') break;
    text.push_back(static_cast<char>(letter));
  }
  return text;
}

std::uint64_t file_size(const Fd& fd) {
  struct stat status = {};
  if (fstat(fd.get(), &status) != 0) return 0;
  return static_cast<std::uint64_t>(status.st_size);
}

Result<std::string> search_file(const Fd& fd, std::string_view mark) {
  const std::uint64_t size = file_size(fd);
  const auto mapping =
      TRY(shm::Mapping::map(fd, {.length = size, .protection = shm::Protection::kRead}));
  std::vector<std::byte> copy;
  for (std::uint64_t at = 0; at < size; at += kFilePiece) {
    copy.resize(std::min(kFilePiece, size - at));
    mapping.bytes().copy_out(at, copy);
    std::string found = find_marked(copy, mark);
    if (!found.empty()) return found;
  }
  return std::string();
}

std::uint64_t number(std::string_view text) {
  const int base = text.starts_with("0x") ? 16 : 10;
  if (base == 16) text.remove_prefix(2);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.begin(), text.end(), value, base);
  CHECK(error == std::errc() && end == text.end());
  return value;
}

}  // namespace airlock::testing::attack
