// SPDX-License-Identifier: Apache-2.0
#include "compare/sight.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace airlock::compare {

namespace {

constexpr std::size_t kChunk = std::size_t{64} << 10;
constexpr std::array<std::byte, 1024> kBlank{};

/// A stretch of a file, or of this process' memory.
struct Stretch {
  std::uint64_t first = 0;
  std::uint64_t end = 0;
};

class Search {
 public:
  explicit Search(const Look& look)
      : look_(look), canary_(look.key), found_(look.private_bytes / Canary::kWordBytes) {}

  /// What can't be read (a guard page, the kernel's own) is passed by.
  void read(const Fd& file, const Stretch& stretch) {
    std::uint64_t at = stretch.first;
    while (at < stretch.end) {
      const std::size_t wanted = std::min<std::uint64_t>(chunk_.size(), stretch.end - at);
      const ssize_t got = ::pread(file.get(), chunk_.data(), wanted, static_cast<off_t>(at));
      if (got <= 0) break;
      search(std::span(chunk_).first(static_cast<std::size_t>(got)));
      at += static_cast<std::uint64_t>(got);
    }
    // This process' memory is what is searched: nothing may be found in what was found.
    ::explicit_bzero(chunk_.data(), chunk_.size());
  }

  [[nodiscard]] Seen result() const {
    Seen seen;
    for (std::uint64_t index = 0; index < found_.size(); ++index) {
      if (!found_[index]) continue;
      const std::uint64_t offset = index * Canary::kWordBytes;
      seen.bytes += Canary::kWordBytes;
      const bool declared = std::ranges::any_of(
          look_.declared, [=](const Declared& one) { return one.contains(offset); });
      if (declared) continue;
      if (seen.outside_bytes == 0) seen.first_outside = offset;
      seen.outside_bytes += Canary::kWordBytes;
    }
    return seen;
  }

 private:
  void search(std::span<const std::byte> bytes) {
    // Most of what there is is empty, and soon passed by.
    for (; bytes.size() > kBlank.size(); bytes = bytes.subspan(kBlank.size())) {
      if (std::memcmp(bytes.data(), kBlank.data(), kBlank.size()) != 0) {
        search_words(bytes.first(kBlank.size()));
      }
    }
    search_words(bytes);
  }
  void search_words(std::span<const std::byte> bytes) {
    canary_.each_in(bytes, found_.size(), [this](std::uint64_t index) { found_[index] = true; });
  }

  const Look& look_;
  Canary canary_;
  std::vector<bool> found_;
  std::vector<std::byte> chunk_ = std::vector<std::byte>(kChunk);
};

std::optional<std::uint64_t> hexadecimal(std::string_view text) {
  std::uint64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() ? std::optional(value)
                                                                             : std::nullopt;
}

Result<std::string> contents(const Fd& file) {
  std::string text;
  std::vector<char> chunk(kChunk);
  for (;;) {
    const ssize_t got =
        ::pread(file.get(), chunk.data(), chunk.size(), static_cast<off_t>(text.size()));
    if (got < 0) return fail(system_error());
    if (got == 0) return text;
    text.append(chunk.data(), static_cast<std::size_t>(got));
  }
}

/// A line of /proc/self/maps: FIRST-END rwxp ...; nothing where it is no readable memory of ours.
Result<std::optional<Stretch>> stretch_of(std::string_view line) {
  const std::size_t dash = line.find('-');
  const std::size_t space = line.find(' ');
  if (dash == std::string_view::npos || space == std::string_view::npos || dash > space) {
    return fail(Errc::kMalformed);
  }
  const auto first = hexadecimal(line.substr(0, dash));
  const auto end = hexadecimal(line.substr(dash + 1, space - dash - 1));
  if (!first || !end || *end < *first) return fail(Errc::kMalformed);
  const bool readable = line.substr(space + 1, 1) == "r";
  if (!readable || *end - *first > Sight::kMappingMost) return std::nullopt;
  return Stretch{.first = *first, .end = *end};
}

}  // namespace

Result<Sight> Sight::open() {
  Fd maps = TRY(own_fd(::open("/proc/self/maps", O_RDONLY | O_CLOEXEC)));
  Fd memory = TRY(own_fd(::open("/proc/self/mem", O_RDONLY | O_CLOEXEC)));
  return Sight(std::move(maps), std::move(memory));
}

Result<Seen> Sight::look(const Look& look, std::span<const Fd> files) const {
  Search search(look);
  const std::string maps = TRY(contents(maps_));
  std::string_view left = maps;
  while (!left.empty()) {
    const std::size_t line = left.find('\n');
    if (line == std::string_view::npos) return fail(Errc::kMalformed);
    const auto stretch = TRY(stretch_of(left.substr(0, line)));
    if (stretch && stretch->end <= std::uint64_t{1} << 47) search.read(memory_, *stretch);
    left.remove_prefix(line + 1);
  }
  for (const Fd& file : files) {
    struct stat status = {};
    if (::fstat(file.get(), &status) != 0) return fail(system_error());
    search.read(file, {.first = 0, .end = static_cast<std::uint64_t>(status.st_size)});
  }
  return search.result();
}

}  // namespace airlock::compare
