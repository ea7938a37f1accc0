// SPDX-License-Identifier: Apache-2.0
#include "backend/nbd/nbd_tls.h"

#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <fstream>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

#include <fmt/core.h>

#include "backend/nbd/nbd_relay.h"
#include "base/le.h"

namespace airlock::backend {

namespace {

constexpr int kStepMs = 10'000;
constexpr const char* kPriority = "NORMAL:+ECDHE-PSK:+DHE-PSK:+PSK";

// NBD's handshake, as far as TLS. The protocol's numbers are big-endian.
constexpr std::string_view kGreeting = "NBDMAGICIHAVEOPT";
constexpr std::string_view kOptionMagic = "IHAVEOPT";
constexpr std::uint64_t kReplyMagic = 0x3e889045565a9;
constexpr std::uint32_t kStartTls = 5;
constexpr std::uint32_t kAcknowledged = 1;
constexpr std::size_t kHelloBytes = 18;
constexpr std::size_t kReplyBytes = 20;

using Outcome = std::expected<void, std::string>;

template <class T>
T big_endian(std::span<const std::byte> bytes) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i)
    value = static_cast<T>(value << 8U | std::to_integer<std::uint8_t>(bytes[i]));
  return value;
}

void put_big_endian(std::vector<std::byte>& target, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8)
    target.push_back(static_cast<std::byte>(value >> static_cast<unsigned>(shift)));
}

bool wait_for(const Fd& socket, short events) {
  pollfd ready{.fd = socket.get(), .events = events, .revents = 0};
  return poll(&ready, 1, kStepMs) > 0;
}

Outcome receive(const Fd& socket, std::span<std::byte> target) {
  while (!target.empty()) {
    if (!wait_for(socket, POLLIN)) return std::unexpected("it does not answer");
    const ssize_t got = read(socket.get(), target.data(), target.size());
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got <= 0) return std::unexpected("it ends the connection before TLS");
    target = target.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

Outcome send_all(const Fd& socket, std::span<const std::byte> source) {
  while (!source.empty()) {
    if (!wait_for(socket, POLLOUT)) return std::unexpected("it takes nothing");
    const ssize_t sent = send(socket.get(), source.data(), source.size(), MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (sent <= 0) return std::unexpected("it ends the connection before TLS");
    source = source.subspan(static_cast<std::size_t>(sent));
  }
  return {};
}

/// The server's greeting, once it has agreed to TLS.
std::expected<std::vector<std::byte>, std::string> ask_for_tls(const Fd& socket) {
  std::vector<std::byte> hello(kHelloBytes);
  if (auto got = receive(socket, hello); !got) return std::unexpected(got.error());
  const auto expected = std::as_bytes(std::span(kGreeting));
  if (!std::equal(expected.begin(), expected.end(), hello.begin())) {
    return std::unexpected("it does not speak NBD, or an old kind of it");
  }
  std::vector<std::byte> request;
  put_big_endian(request, big_endian<std::uint16_t>(std::span(hello).subspan(16)) & 3U);
  const auto magic = std::as_bytes(std::span(kOptionMagic));
  request.insert(request.end(), magic.begin(), magic.end());
  put_big_endian(request, kStartTls);
  put_big_endian(request, 0);
  if (auto sent = send_all(socket, request); !sent) return std::unexpected(sent.error());
  std::array<std::byte, kReplyBytes> reply{};
  if (auto got = receive(socket, reply); !got) return std::unexpected(got.error());
  if (big_endian<std::uint64_t>(reply) != kReplyMagic ||
      big_endian<std::uint32_t>(std::span(reply).subspan(12)) != kAcknowledged ||
      big_endian<std::uint32_t>(std::span(reply).subspan(16)) != 0) {
    return std::unexpected("it has no TLS");
  }
  return hello;
}

std::string text_of(int error) {
  return gnutls_strerror(error);
}

struct FreePsk {
  void operator()(gnutls_psk_client_credentials_t keys) const {
    gnutls_psk_free_client_credentials(keys);
  }
};
struct FreeCertificates {
  void operator()(gnutls_certificate_credentials_t certificates) const {
    gnutls_certificate_free_credentials(certificates);
  }
};

/// A TLS session with what it is authenticated by.
struct Session : TlsSession {
  std::unique_ptr<std::remove_pointer_t<gnutls_psk_client_credentials_t>, FreePsk> keys;
  std::unique_ptr<std::remove_pointer_t<gnutls_certificate_credentials_t>, FreeCertificates>
      certificates;
};

std::string own_name() {
  const passwd* const entry = getpwuid(geteuid());  // NOLINT(concurrency-mt-unsafe): one thread
  return entry != nullptr ? entry->pw_name : "nobody";
}

/// From a file with lines USER:KEY.
Outcome use_key(Session& session, const NbdAddress& address) {
  const std::string user = address.user.empty() ? own_name() : address.user;
  std::ifstream file(address.psk_file);
  if (!file) return std::unexpected(address.psk_file + ": it can't be read");
  std::string key;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(user + ":")) key = line.substr(user.size() + 1);
  }
  if (key.empty()) return std::unexpected(fmt::format("{}: no key of {}", address.psk_file, user));
  gnutls_psk_client_credentials_t keys = nullptr;
  int error = gnutls_psk_allocate_client_credentials(&keys);
  if (error < 0) return std::unexpected(text_of(error));
  session.keys.reset(keys);
  std::vector<unsigned char> bytes(key.begin(), key.end());
  const gnutls_datum_t datum{.data = bytes.data(), .size = static_cast<unsigned>(bytes.size())};
  error = gnutls_psk_set_client_credentials(keys, user.c_str(), &datum, GNUTLS_PSK_KEY_HEX);
  if (error == 0) error = gnutls_credentials_set(session.tls, GNUTLS_CRD_PSK, keys);
  if (error < 0) return std::unexpected(fmt::format("{}: {}", address.psk_file, text_of(error)));
  return {};
}

/// As other clients of NBD have them: ca-cert.pem, and client-cert.pem with client-key.pem.
Outcome use_certificates(Session& session, const NbdAddress& address) {
  gnutls_certificate_credentials_t certificates = nullptr;
  int error = gnutls_certificate_allocate_credentials(&certificates);
  if (error < 0) return std::unexpected(text_of(error));
  session.certificates.reset(certificates);
  const std::string& folder = address.certificates;
  if (folder.empty()) {
    error = gnutls_certificate_set_x509_system_trust(certificates);
  } else {
    error = gnutls_certificate_set_x509_trust_file(certificates, (folder + "/ca-cert.pem").c_str(),
                                                   GNUTLS_X509_FMT_PEM);
    const std::string own = folder + "/client-cert.pem";
    const std::string key = folder + "/client-key.pem";
    if (error >= 0 && access(own.c_str(), F_OK) == 0) {
      error = gnutls_certificate_set_x509_key_file(certificates, own.c_str(), key.c_str(),
                                                   GNUTLS_X509_FMT_PEM);
    }
  }
  if (error < 0) {
    return std::unexpected(fmt::format("certificates {}: {}", folder, text_of(error)));
  }
  const char* const host = address.host.empty() ? nullptr : address.host.c_str();
  if (host != nullptr) {
    gnutls_server_name_set(session.tls, GNUTLS_NAME_DNS, host, address.host.size());
  }
  gnutls_session_set_verify_cert(session.tls, host, 0);
  error = gnutls_credentials_set(session.tls, GNUTLS_CRD_CERTIFICATE, certificates);
  if (error < 0) return std::unexpected(text_of(error));
  return {};
}

Outcome shake_hands(Session& session, const NbdAddress& address, const Fd& socket) {
  int error = gnutls_init(&session.tls, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
  if (error == 0) error = gnutls_priority_set_direct(session.tls, kPriority, nullptr);
  if (error < 0) return std::unexpected(text_of(error));
  if (auto used =
          address.psk_file.empty() ? use_certificates(session, address) : use_key(session, address);
      !used) {
    return used;
  }
  gnutls_transport_set_int(session.tls, socket.get());
  while ((error = gnutls_handshake(session.tls)) < 0) {
    if (gnutls_error_is_fatal(error) != 0) return std::unexpected("TLS: " + text_of(error));
    const bool writes = gnutls_record_get_direction(session.tls) == 1;
    if (!wait_for(socket, writes ? POLLOUT : POLLIN)) {
      return std::unexpected("TLS: it does not get to the end of the handshake");
    }
  }
  return {};
}

}  // namespace

Connected connect_tls(const NbdAddress& address) {
  auto socket = connect_to(address);
  if (!socket) return socket;
  if (fcntl(socket->get(), F_SETFL, O_NONBLOCK) != 0) {
    return std::unexpected(describe(system_error()));
  }
  auto hello = ask_for_tls(*socket);
  if (!hello) return std::unexpected(hello.error());
  Session session;
  if (auto shaken = shake_hands(session, address, *socket); !shaken) {
    return std::unexpected(shaken.error());
  }
  return start_relay(session, *socket, *hello);
}

}  // namespace airlock::backend
