// SPDX-License-Identifier: Apache-2.0
//
// Prints the packets that a network card receives, one line each:
//     packet_printer vfio-user:/tmp/net.sock [COUNT]
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>

#include <fmt/core.h>

#include "driver/net.h"
#include "driver/open_by_name.h"

namespace {

using namespace airlock;
using namespace std::chrono_literals;

std::string mac_text(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes.first(6))
    text += fmt::format("{}{:02x}", text.empty() ? "" : ":", std::to_integer<unsigned>(byte));
  return text;
}

std::string protocol_of(std::span<const std::byte> frame) {
  const unsigned type =
      std::to_integer<unsigned>(frame[12]) << 8 | std::to_integer<unsigned>(frame[13]);
  switch (type) {
    case 0x0800:
      return "IPv4";
    case 0x0806:
      return "ARP";
    case 0x86dd:
      return "IPv6";
    default:
      return fmt::format("type {:04x}", type);
  }
}

// The frame is a private copy of 14 bytes at least: what is in it may be anything.
void print(const driver::NetReceived& received) {
  const std::span<const std::byte> frame = received.frame;
  fmt::print("{} -> {}, {}, {} bytes\n", mac_text(frame.subspan(6)), mac_text(frame),
             protocol_of(frame), frame.size());
  static_cast<void>(std::fflush(stdout));
}

Result<void> run(std::unique_ptr<driver::PciTransport> transport, unsigned count) {
  auto net = TRY(driver::Net::open(std::move(transport), {}));
  if (net->info().has_control) {
    // A card that can't show the packets of others has none, or shows them anyway.
    static_cast<void>(net->set_promiscuous(true));
  }
  fmt::print(stderr, "listening, MTU {}\n", net->info().mtu);
  for (unsigned seen = 0; count == 0 || seen < count;) {
    const auto waited = net->receiver(0).wait(1h);
    if (!waited && waited.error().code != Errc::kTimeout) return waited;
    while (const auto received = TRY(net->receiver(0).poll())) {
      print(*received);
      if (++seen == count) break;
    }
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  unsigned count = 0;  // for ever
  const char* const text = argc == 3 ? argv[2] : "0";
  const auto parsed = std::from_chars(text, text + std::strlen(text), count);
  if (argc < 2 || argc > 3 || parsed.ec != std::errc() || *parsed.ptr != '\0') {
    fmt::print(stderr, "usage: {} vfio-user:PATH|pci:ADDRESS [COUNT]\n", argv[0]);
    return 2;
  }
  auto opened = driver::open_by_name(argv[1]);
  if (!opened) {
    const driver::OpenError& error = opened.error();
    fmt::print(stderr, "{}: {}: {}\n", error.what, error.why, error.advice);
    return 1;
  }
  const auto done = run(std::move(opened->transport), count);
  if (!done) fmt::print(stderr, "{}: {}\n", argv[1], describe(done.error()));
  return done ? 0 : 1;
}
