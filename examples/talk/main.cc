// SPDX-License-Identifier: Apache-2.0
//
// Says a line to a port of a virtio console, and prints the line that comes back:
//     talk vfio-user:/run/console.sock agent hello
#include <array>
#include <chrono>
#include <cstdio>
#include <span>
#include <string>

#include "driver/console.h"
#include "driver/open_by_name.h"

namespace {

using namespace airlock;
using namespace std::chrono_literals;

constexpr auto kPatience = 20s;

/// The number of the port with this name, once the device has told it.
Result<std::uint32_t> find_port(driver::Console& console, const std::string& name) {
  const driver::Deadline deadline = driver::Deadline::after(kPatience);
  while (!deadline.passed()) {
    for (std::uint32_t i = 0; i < console.ports().size(); ++i) {
      if (console.ports()[i].is_there && console.ports()[i].name == name) return i;
    }
    TRY(console.wait_for_message(deadline.left()));
  }
  return fail(deadline.error());
}

Result<std::string> talk(driver::Console& console, const std::string& name, std::string line) {
  const std::uint32_t port = TRY(find_port(console, name));
  TRY(console.open_port(port));
  line += '\n';
  TRY(console.write(port, std::as_bytes(std::span(line))));
  std::string answer;
  while (answer.find('\n') == std::string::npos) {
    std::array<char, 256> bytes{};
    const auto count = TRY(console.read(port, std::as_writable_bytes(std::span(bytes)), kPatience));
    answer.append(bytes.data(), count);
  }
  TRY(console.flush(port));  // who answered may not have waited for us
  return answer;
}

int fail_with(const std::string& text) {
  std::fprintf(stderr, "talk: %s\n", text.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: talk DEVICE PORT TEXT\n");
    return 2;
  }
  auto opened = driver::open_by_name(argv[1]);
  if (!opened) return fail_with(opened.error().what + ": " + opened.error().why);
  const auto console = driver::Console::open(std::move(opened->transport), {});
  if (!console) return fail_with(describe(console.error()));
  const auto answer = talk(**console, argv[2], argv[3]);
  if (!answer) return fail_with(describe(answer.error()));
  std::printf("%s", answer->c_str());
  return 0;
}
