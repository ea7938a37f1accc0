// SPDX-License-Identifier: Apache-2.0
//
// For tests and fuzz targets: the other side of a Dialogue, which answers as a backend does, unless
// told to lie.
#pragma once

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "base/check.h"
#include "spec/virtio.h"
#include "vhost_user/dialogue.h"
#include "wire/message.h"

namespace airlock::vhost_user {

/// A backend without devices: it knows what it was told, and answers at once.
class ScriptedBackend {
 public:
  std::uint64_t features =
      spec::feature(spec::VIRTIO_F_VERSION_1) | spec::feature(spec::VHOST_USER_F_PROTOCOL_FEATURES);
  std::uint64_t protocol = spec::feature(spec::VHOST_USER_PROTOCOL_F_MQ) |
                           spec::feature(spec::VHOST_USER_PROTOCOL_F_REPLY_ACK) |
                           spec::feature(spec::VHOST_USER_PROTOCOL_F_CONFIG) |
                           spec::feature(spec::VHOST_USER_PROTOCOL_F_BACKEND_REQ);
  std::uint64_t queues = 2;
  std::vector<std::byte> config = std::vector<std::byte>(60);
  std::uint32_t base = 7;             // of every ring
  std::uint64_t acknowledgement = 0;  // of every request that wants one
  std::uint64_t state_taken = spec::VHOST_USER_DEVICE_STATE_NOFD;  // of SET_DEVICE_STATE_FD
  std::uint64_t state_checked = 0;                                 // of CHECK_DEVICE_STATE
  std::function<void(Message&)> on_answer;  // changes an answer before it goes

  /// What it was told: requests in order, and the last payload of each.
  std::vector<std::uint32_t> requests;
  std::map<std::uint32_t, std::vector<std::byte>> payloads;
  std::map<std::uint32_t, std::size_t> fds;

  /// The answer to a message, if it wants one.
  std::optional<Message> answer(const vfio_user::Outgoing& outgoing) {
    const auto header = vfio_user::require_struct<spec::VhostUserHeader>(outgoing.bytes);
    const std::vector<std::byte> payload(outgoing.bytes.begin() + kHeaderSize,
                                         outgoing.bytes.end());
    CHECK(header.size == payload.size());
    requests.push_back(header.request);
    payloads[header.request] = payload;
    fds[header.request] = outgoing.fds.size();
    auto body = body_of(header, payload);
    if (!body) return std::nullopt;
    Message message{.header = {.request = header.request,
                               .flags = spec::VHOST_USER_VERSION | spec::VHOST_USER_F_REPLY,
                               .size = static_cast<std::uint32_t>(body->size())},
                    .payload = std::move(*body),
                    .fds = {}};
    if (header.request == spec::VHOST_USER_GET_INFLIGHT_FD) {
      message.fds.emplace_back(memfd_create("inflight", MFD_CLOEXEC));
    }
    if (on_answer) on_answer(message);
    return message;
  }

  /// Has all that the dialogue has to say answered, and what follows from that.
  Result<void> answer_all(Dialogue& dialogue) {
    while (auto outgoing = dialogue.take_outgoing()) {
      if (auto message = answer(*outgoing)) TRY(dialogue.receive(std::move(*message)));
    }
    return {};
  }

 private:
  std::optional<std::vector<std::byte>> body_of(const spec::VhostUserHeader& header,
                                                const std::vector<std::byte>& payload) const {
    using vfio_user::bytes_of;
    switch (header.request) {
      case spec::VHOST_USER_GET_FEATURES:
        return bytes_of(features);
      case spec::VHOST_USER_GET_PROTOCOL_FEATURES:
        return bytes_of(protocol);
      case spec::VHOST_USER_GET_QUEUE_NUM:
        return bytes_of(queues);
      case spec::VHOST_USER_GET_VRING_BASE:
        return bytes_of(spec::VhostUserVringState{
            .index = vfio_user::require_struct<spec::VhostUserVringState>(payload).index,
            .num = base});
      case spec::VHOST_USER_GET_CONFIG: {
        auto body = bytes_of(vfio_user::require_struct<spec::VhostUserConfig>(payload));
        body.insert(body.end(), config.begin(), config.end());
        return body;
      }
      case spec::VHOST_USER_GET_INFLIGHT_FD: {
        auto shape = vfio_user::require_struct<spec::VhostUserInflight>(payload);
        shape.mmap_size = 4096;
        return bytes_of(shape);
      }
      case spec::VHOST_USER_SET_DEVICE_STATE_FD:
        return bytes_of(state_taken);
      case spec::VHOST_USER_CHECK_DEVICE_STATE:
        return bytes_of(state_checked);
      default:
        if ((header.flags & spec::VHOST_USER_F_NEED_REPLY) == 0) return std::nullopt;
        return bytes_of(acknowledgement);
    }
  }
};

}  // namespace airlock::vhost_user
