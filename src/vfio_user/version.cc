// SPDX-License-Identifier: Apache-2.0
#include "vfio_user/version.h"

#include <string>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "wire/message.h"

namespace airlock::vfio_user {

namespace {

using Json = nlohmann::json;

std::unexpected<Error> malformed() {
  return fail({.code = Errc::kMalformed, .detail = sizeof(spec::VfioUserVersion)});
}

// Overwrites `value` if `object` has `key`. A wrong type is an error, absence is not.
Result<void> read_number(const Json& object, const char* key, std::uint64_t& value) {
  const auto found = object.find(key);
  if (found == object.end()) return {};
  if (!found->is_number_unsigned()) return malformed();
  value = found->get<std::uint64_t>();
  return {};
}

Result<Capabilities> parse_capabilities(std::span<const std::byte> text) {
  Capabilities capabilities;
  if (text.empty()) return capabilities;
  if (text.back() != std::byte{0}) return malformed();
  std::string json(text.size() - 1, '\0');
  std::memcpy(json.data(), text.data(), json.size());
  json.resize(std::strlen(json.c_str()));  // what stands behind the first NUL is not the text
  if (json.empty()) return capabilities;
  const Json parsed = Json::parse(json, nullptr, false);
  if (!parsed.is_object()) return malformed();
  const auto found = parsed.find("capabilities");
  if (found == parsed.end()) return capabilities;
  if (!found->is_object()) return malformed();
  TRY(read_number(*found, "max_msg_fds", capabilities.max_msg_fds));
  TRY(read_number(*found, "max_data_xfer_size", capabilities.max_data_xfer_size));
  return capabilities;
}

}  // namespace

Result<Proposal> parse_version(std::span<const std::byte> payload) {
  if (payload.size() > kMaxVersionPayload) {
    return fail({.code = Errc::kTooLarge, .address = payload.size()});
  }
  const auto version = read_struct<spec::VfioUserVersion>(payload);
  if (!version) return fail(Errc::kMalformed);
  const auto capabilities = TRY(parse_capabilities(payload.subspan(sizeof *version)));
  return Proposal{.major = version->major, .minor = version->minor, .capabilities = capabilities};
}

void append_version(std::vector<std::byte>& bytes, const Proposal& proposal) {
  append_struct(bytes, spec::VfioUserVersion{.major = proposal.major, .minor = proposal.minor});
  const std::string json =
      fmt::format(R"({{"capabilities":{{"max_msg_fds":{},"max_data_xfer_size":{}}}}})",
                  proposal.capabilities.max_msg_fds, proposal.capabilities.max_data_xfer_size);
  const auto view = std::as_bytes(std::span(json.c_str(), json.size() + 1));
  bytes.insert(bytes.end(), view.begin(), view.end());
}

}  // namespace airlock::vfio_user
