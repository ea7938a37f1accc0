// SPDX-License-Identifier: Apache-2.0
#include "crypt/queue_secret.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/random.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/le.h"

namespace airlock::crypt {

namespace {

constexpr std::string_view kLabel = "airlock queue encryption 1";

template <class T>
void append(std::vector<std::byte>& target, const T& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  target.insert(target.end(), bytes.begin(), bytes.end());
}

}  // namespace

QueueSecret::~QueueSecret() {
  wipe(key);
}

void wipe(std::span<std::byte> bytes) {
  OPENSSL_cleanse(bytes.data(), bytes.size());
}

void fill_random(std::span<std::byte> target) {
  while (!target.empty()) {
    const ssize_t count = ::getrandom(target.data(), target.size(), 0);
    CHECK(count > 0 || errno == EINTR);
    if (count > 0) target = target.subspan(static_cast<std::size_t>(count));
  }
}

Key session_key(const QueueSecret& secret, std::uint16_t queue) {
  CHECK(OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr) == 1);
  std::vector<std::byte> info;
  const auto label = std::as_bytes(std::span(kLabel));
  info.insert(info.end(), label.begin(), label.end());
  append(info, Le16(std::to_underlying(secret.algorithm)));
  append(info, Le16(queue));
  append(info, secret.salt);
  append(info, std::uint8_t{1});  // the first block of the expansion, and the only one
  Key key{};
  unsigned length = 0;
  CHECK(HMAC(EVP_sha256(), secret.key.data(), static_cast<int>(secret.key.size()),
             std::bit_cast<const unsigned char*>(info.data()), info.size(),
             std::bit_cast<unsigned char*>(key.data()), &length) != nullptr);
  CHECK(length == key.size());
  return key;
}

}  // namespace airlock::crypt
