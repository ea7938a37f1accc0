// SPDX-License-Identifier: Apache-2.0
#include "device/gateway/fuse_request.h"

#include <algorithm>
#include <string_view>

#include "spec/fuse.h"
#include "wire/message.h"

namespace airlock::device {

namespace {

// NAME_MAX, with its end. Of a name that is longer, no file exists.
constexpr std::size_t kNameBytes = 256;
// The most of a request that is looked at: two names behind the longest struct.
constexpr std::size_t kLooked = sizeof(spec::FuseWriteIn) + 2 * kNameBytes;
// Of a list of nodes to be forgotten: what no driver's request exceeds.
constexpr std::size_t kForgetLooked = std::size_t{1} << 16U;

/// Takes a request's fields one after another.
class Fields {
 public:
  explicit Fields(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <class T>
  std::optional<T> take() {
    const auto value = vfio_user::read_struct<T>(bytes_);
    if (value) bytes_ = bytes_.subspan(sizeof(T));
    return value;
  }
  /// Up to its NUL.
  std::optional<std::string> take_name() {
    const auto end = std::ranges::find(bytes_, std::byte{0});
    if (end == bytes_.end()) return std::nullopt;
    std::string name;
    for (const std::byte byte : std::span(bytes_.begin(), end))
      name.push_back(static_cast<char>(byte));
    bytes_ = bytes_.subspan(name.size() + 1);
    return name;
  }

 private:
  std::span<const std::byte> bytes_;
};

bool take_name(Fields& fields, std::string& name) {
  auto taken = fields.take_name();
  if (taken) name = std::move(*taken);
  return taken.has_value();
}

template <class T>
bool take_rename(Fields& fields, FuseRequest& request) {
  const auto in = fields.take<T>();
  if (!in) return false;
  request.other_node = in->newdir.get();
  if constexpr (requires { in->flags; }) request.flags = in->flags.get();
  return take_name(fields, request.name) && take_name(fields, request.new_name);
}

/// An operation with a struct that matters for its flags, or for what follows it.
template <class T>
bool take_flags(Fields& fields, FuseRequest& request) {
  const auto in = fields.take<T>();
  if constexpr (requires { in->flags; }) {
    if (in) request.flags = in->flags.get();
  }
  return in.has_value();
}

template <class T>
bool take_flags_and_name(Fields& fields, FuseRequest& request) {
  return take_flags<T>(fields, request) && take_name(fields, request.name);
}

bool take_link(Fields& fields, FuseRequest& request) {
  const auto in = fields.take<spec::FuseLinkIn>();
  if (in) request.other_node = in->oldnodeid.get();
  return in && take_name(fields, request.name);
}

bool take_release(Fields& fields, FuseRequest& request) {
  const auto in = fields.take<spec::FuseReleaseIn>();
  if (in) request.handle = in->fh.get();
  return in.has_value();
}

bool take_forget(Fields& fields, FuseRequest& request) {
  const auto in = fields.take<spec::FuseForgetIn>();
  if (in) request.forgotten.emplace_back(request.node, in->nlookup.get());
  return in.has_value();
}

bool take_batch_forget(Fields& fields, FuseRequest& request) {
  const auto in = fields.take<spec::FuseBatchForgetIn>();
  for (std::uint32_t i = 0; in && i < in->count.get(); ++i) {
    const auto one = fields.take<spec::FuseForgetOne>();
    if (!one) break;
    request.forgotten.emplace_back(one->nodeid.get(), one->nlookup.get());
  }
  return in.has_value();
}

bool take_body(Fields& fields, FuseRequest& request) {
  switch (request.opcode) {
    case spec::FUSE_LOOKUP:
    case spec::FUSE_SYMLINK:
    case spec::FUSE_UNLINK:
    case spec::FUSE_RMDIR:
      return take_name(fields, request.name);
    case spec::FUSE_MKNOD:
      return take_flags_and_name<spec::FuseMknodIn>(fields, request);
    case spec::FUSE_MKDIR:
      return take_flags_and_name<spec::FuseMkdirIn>(fields, request);
    case spec::FUSE_CREATE:
      return take_flags_and_name<spec::FuseCreateIn>(fields, request);
    case spec::FUSE_TMPFILE:
      return take_flags<spec::FuseCreateIn>(fields, request);
    case spec::FUSE_OPEN:
    case spec::FUSE_OPENDIR:
      return take_flags<spec::FuseOpenIn>(fields, request);
    case spec::FUSE_WRITE:
      return take_flags<spec::FuseWriteIn>(fields, request);
    case spec::FUSE_LINK:
      return take_link(fields, request);
    case spec::FUSE_RENAME:
      return take_rename<spec::FuseRenameIn>(fields, request);
    case spec::FUSE_RENAME2:
      return take_rename<spec::FuseRename2In>(fields, request);
    case spec::FUSE_RELEASE:
    case spec::FUSE_RELEASEDIR:
      return take_release(fields, request);
    case spec::FUSE_FORGET:
      return take_forget(fields, request);
    case spec::FUSE_BATCH_FORGET:
      return take_batch_forget(fields, request);
    default:
      return true;
  }
}

}  // namespace

std::optional<FuseRequest> FuseRequest::read(const ring::Chain& chain) {
  const auto header = chain.read<spec::FuseInHeader>(0);
  if (!header) return std::nullopt;
  FuseRequest request{
      .opcode = header->opcode.get(), .unique = header->unique.get(), .node = header->nodeid.get()};
  const std::size_t looked = request.opcode == spec::FUSE_BATCH_FORGET ? kForgetLooked : kLooked;
  std::vector<std::byte> body(
      std::min<std::size_t>(chain.readable_bytes() - sizeof *header, looked));
  if (!chain.read(sizeof *header, body)) return std::nullopt;
  Fields fields(body);
  if (!take_body(fields, request)) return std::nullopt;
  return request;
}

bool FuseRequest::changes_session() const {
  switch (opcode) {
    case spec::FUSE_LOOKUP:
    case spec::FUSE_FORGET:
    case spec::FUSE_BATCH_FORGET:
    case spec::FUSE_SYMLINK:
    case spec::FUSE_MKNOD:
    case spec::FUSE_MKDIR:
    case spec::FUSE_UNLINK:
    case spec::FUSE_RMDIR:
    case spec::FUSE_RENAME:
    case spec::FUSE_RENAME2:
    case spec::FUSE_LINK:
    case spec::FUSE_OPEN:
    case spec::FUSE_OPENDIR:
    case spec::FUSE_RELEASE:
    case spec::FUSE_RELEASEDIR:
    case spec::FUSE_INIT:
    case spec::FUSE_DESTROY:
    case spec::FUSE_CREATE:
    case spec::FUSE_TMPFILE:
    case spec::FUSE_READDIRPLUS:
      return true;
    default:
      return false;
  }
}

bool is_file_name(std::string_view name) {
  return !name.empty() && name.size() < kNameBytes && name != "." && name != ".." &&
         !name.contains('/') && !name.contains('\0');
}

}  // namespace airlock::device
