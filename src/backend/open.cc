// SPDX-License-Identifier: Apache-2.0
#include "backend/open.h"

#include <optional>

#include "backend/file_backend.h"
#include "backend/memory_backend.h"
#include "backend/nbd/nbd_backend.h"
#include "backend/null_backend.h"
#include "backend/rbd/rbd_backend.h"
#include "base/size.h"

namespace airlock::backend {

namespace {

constexpr std::string_view kAdvice =
    "use file:PATH, nbd:URI, rbd:POOL/IMAGE, memory:SIZE or null:SIZE, as memory:1G";

std::unexpected<OpenError> refuse(std::string_view spec, std::string why,
                                  std::string_view advice = kAdvice) {
  return std::unexpected(OpenError{.what = "--backend " + std::string(spec),
                                   .why = std::move(why),
                                   .advice = std::string(advice)});
}

/// Takes one known option off the end of `path`; false if there is none.
bool take_option(std::string_view& path, FileOptions& options) {
  struct Known {
    std::string_view text;
    void (*apply)(FileOptions&);
  };
  static constexpr Known kKnown[] = {
      {.text = ",direct=on", .apply = [](FileOptions& o) { o.direct = o.register_memory = true; }},
      {.text = ",direct=off",
       .apply = [](FileOptions& o) { o.direct = o.register_memory = false; }},
      {.text = ",engine=auto", .apply = [](FileOptions& o) { o.engine = FileEngine::kAuto; }},
      {.text = ",engine=io_uring",
       .apply = [](FileOptions& o) { o.engine = FileEngine::kIoUring; }},
      {.text = ",engine=threads", .apply = [](FileOptions& o) { o.engine = FileEngine::kThreads; }},
  };
  for (const Known& known : kKnown) {
    if (!path.ends_with(known.text)) continue;
    path.remove_suffix(known.text.size());
    known.apply(options);
    return true;
  }
  return false;
}

Opened<std::unique_ptr<BlockBackend>> open_file_spec(std::string_view spec, std::string_view path,
                                                     const OpenOptions& wanted) {
  FileOptions options;
  options.read_only = wanted.read_only;
  options.channels = wanted.channels;
  options.depth = wanted.depth;
  options.wait = wanted.wait;
  options.keep_open = wanted.keep_open;
  while (take_option(path, options)) {
  }
  if (path.empty()) return refuse(spec, "the path is missing", "write file:PATH");
  options.path = path;
  return open_file(options);
}

Opened<std::uint64_t> parse_capacity(std::string_view spec, std::string_view text) {
  const std::optional<std::uint64_t> size = parse_size(text);
  if (!size) {
    return refuse(spec, "the size is not one",
                  "write a number of bytes, or with K, M, G or T after it, as memory:1G");
  }
  if (*size == 0 || *size % kSectorBytes != 0) {
    return refuse(spec, "a disk is a whole number of 512-byte sectors, at least one",
                  "choose a multiple of 512, as memory:1G");
  }
  return *size;
}

}  // namespace

Opened<std::unique_ptr<BlockBackend>> open_backend(std::string_view spec,
                                                   const OpenOptions& options) {
  const std::size_t colon = spec.find(':');
  if (colon == std::string_view::npos) {
    return refuse(spec, "it does not say what kind of backend it is");
  }
  const std::string_view kind = spec.substr(0, colon);
  const std::string_view rest = spec.substr(colon + 1);
  if (kind == "file") return open_file_spec(spec, rest, options);
  if (kind == "nbd" && !rest.starts_with("//")) return open_nbd(std::string(rest), options);
  if (kind == "rbd") return open_rbd(std::string(rest), options);
  // The URI itself says as much.
  if (kind.starts_with("nbd") && rest.starts_with("//")) {
    return open_nbd(std::string(spec), options);
  }
  if (kind == "memory" || kind == "null") {
    const auto size = parse_capacity(spec, rest);
    if (!size) return std::unexpected(size.error());
    if (kind == "null") return make_null(*size, options.read_only);
    return open_memory(*size, options.read_only);
  }
  return refuse(spec, "there is no backend of this kind");
}

}  // namespace airlock::backend
