// SPDX-License-Identifier: Apache-2.0
#include "compare/device_link.h"

#include <ctime>

#include "base/check.h"

namespace airlock::compare {

Result<std::uint64_t> own_cpu_ns() {
  timespec used = {};
  if (::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) != 0) return fail(system_error());
  constexpr std::uint64_t kSecond = 1'000'000'000;
  return static_cast<std::uint64_t>(used.tv_sec) * kSecond +
         static_cast<std::uint64_t>(used.tv_nsec);
}

QueueKeys QueueKeys::make(crypt::Algorithm algorithm) {
  QueueKeys keys{.algorithm = algorithm};
  if (algorithm == crypt::Algorithm::kNone) return keys;
  crypt::fill_random(keys.key);
  crypt::fill_random(keys.salt);
  return keys;
}

crypt::SharedSecret QueueKeys::secret() const {
  if (algorithm == crypt::Algorithm::kNone) return nullptr;
  auto secret = std::make_shared<crypt::QueueSecret>();
  secret->algorithm = algorithm;
  secret->key = key;
  secret->salt = salt;
  return secret;
}

Result<DeviceReply> DeviceLink::ask_for(DeviceRequest::Kind kind) {
  DeviceRequest request;
  request.kind = kind;
  return TRY(ask<DeviceReply>(socket_, request))
  .message;
}

Result<std::uint64_t> DeviceLink::offered() {
  return TRY(ask_for(DeviceRequest::Kind::kOffer))
  .features;
}

Result<void> DeviceLink::start(std::span<const Loan> loans, std::span<const QueueLink> queues) {
  DeviceRequest request;
  request.kind = DeviceRequest::Kind::kStart;
  CHECK(queues.size() <= kQueuesMost && loans.size() < DeviceRequest::kGrantsMost);
  std::vector<int> fds;
  for (const QueueLink& queue : queues) {
    request.queue.at(request.queues++) = queue.start;
    fds.insert(fds.end(), {queue.bells.notify, queue.bells.interrupt});
  }
  for (const Loan& loan : loans) {
    request.grant.at(request.grants++) = loan.shape;
    fds.push_back(loan.memory->get());
  }
  // A file and no address: the device was never meant to have it.
  if (leaked_ != nullptr) fds.push_back(leaked_->get());
  TRY(ask<DeviceReply>(socket_, request, fds));
  return {};
}

Result<void> DeviceLink::hold() {
  TRY(ask_for(DeviceRequest::Kind::kHold));
  return {};
}

Result<void> DeviceLink::release() {
  TRY(ask_for(DeviceRequest::Kind::kRelease));
  return {};
}

Result<Seen> DeviceLink::look(const Look& look, bool after_request) {
  DeviceRequest request;
  request.kind = DeviceRequest::Kind::kLook;
  request.after_request = after_request;
  request.look = look;
  return TRY(ask<DeviceReply>(socket_, request))
  .message.seen;
}

Result<Usage> DeviceLink::usage() {
  return TRY(ask_for(DeviceRequest::Kind::kUsage))
  .usage;
}

Result<std::uint32_t> DeviceLink::reach(std::int32_t pid) {
  DeviceRequest request;
  request.kind = DeviceRequest::Kind::kReach;
  request.pid = pid;
  return TRY(ask<DeviceReply>(socket_, request))
  .message.reached;
}

}  // namespace airlock::compare
