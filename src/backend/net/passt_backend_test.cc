// SPDX-License-Identifier: Apache-2.0
// A program that is started for us: how it gets its stream, that a new one comes when it dies, and
// that it ends with us. passt(1) itself, where there is one: tests that need a VM.
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "backend/net/connector.h"
#include "backend/net/stream_backend.h"
#include "backend/open_net.h"
#include "testing/net_bench.h"

namespace airlock::backend {
namespace {

using testing::is_readable;
using testing::make_frame;
using testing::NetBench;

// Its arguments are the script's: `sh -c SCRIPT name ARGUMENT...`.
SocketMaker shell(const std::string& script) {
  return stream_to_program("/bin/sh", {"-c", script, "name", "argument"});
}

class ProgramTest : public ::testing::Test {
 protected:
  ProgramTest() { set_log_level(LogLevel::kError); }

  void open(const std::string& script) {
    auto connector = MUST(Connector::start(shell(script)));
    auto socket = MUST(connector.make());
    backend_ = MUST(
        make_stream({.link = {.name = "program",
                              .socket = std::move(socket),
                              .connector = std::make_unique<Connector>(std::move(connector))}}));
    channel_ = MUST(backend_->open_channel());
  }

  NetBench bench_;
  std::unique_ptr<NetBackend> backend_;
  std::unique_ptr<NetChannel> channel_;
};

TEST_F(ProgramTest, HasItsStreamAndNothingElse) {
  // Of its own, ls has what it opens to look: 4.
  open(
      "test \"$1\" = argument && test $(ls /proc/self/fd | tr -d '\\n') = 01234 && exec cat <&3 "
      ">&3");
  for (unsigned i = 1; i < 5; i++) {
    EXPECT_EQ(bench_.send(*channel_, make_frame(1000 * i)), NetSendResult::kSent);
    channel_->flush();
    EXPECT_EQ(bench_.await(*channel_), make_frame(1000 * i));
  }
}

TEST_F(ProgramTest, IsStartedAgainWhenItDies) {
  open("head -c 104 <&3 >&3");
  for (unsigned i = 0; i < 3; i++) {
    while (!backend_->link_up() || backend_->counts().disconnects < i) {
      ASSERT_TRUE(is_readable(channel_->receive_fd()));
      static_cast<void>(bench_.receive(*channel_));
    }
    EXPECT_EQ(bench_.send(*channel_, make_frame(100, i)), NetSendResult::kSent);
    channel_->flush();
    EXPECT_EQ(bench_.await(*channel_), make_frame(100, i));
  }
}

TEST_F(ProgramTest, EndsWithUs) {
  std::string path = (std::filesystem::temp_directory_path() / "airlock-net-XXXXXX").string();
  ASSERT_NE(mkdtemp(path.data()), nullptr);
  const std::string fifo = path + "/end";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  open("exec 5>" + fifo + "; cat <&3 >&3");
  std::ifstream end(fifo);  // until the program has it open too
  channel_.reset();
  backend_.reset();
  EXPECT_EQ(end.get(), std::ifstream::traits_type::eof());  // until the program has it no more
  std::filesystem::remove_all(path);
}

TEST(Program, ThatIsNotThereIsSaid) {
  auto connector = MUST(Connector::start(stream_to_program("airlock-no-such-program", {})));
  EXPECT_EQ(connector.make().error(), system_error(ENOENT));
}

// The real one, which answers a question for any address but the guest's.
TEST_F(ProgramTest, PasstItselfAnswers) {
  auto opened = open_net_backend("passt", {});
  if (!opened) GTEST_SKIP() << opened.error().text();
  backend_ = std::move(*opened);
  channel_ = MUST(backend_->open_channel());
  std::vector<std::byte> question(60);
  std::fill_n(question.begin(), 6, std::byte{0xff});
  question[6] = std::byte{0x02};
  // An ARP request of Ethernet and IPv4, of 192.0.2.9 for 192.0.2.1.
  const unsigned fixed[] = {0x08, 0x06, 0, 1, 0x08, 0, 6,   4, 0, 1,
                            0x02, 0,    0, 0, 0,    0, 192, 0, 2, 9};
  std::ranges::transform(fixed, question.begin() + 12,
                         [](unsigned byte) { return std::byte(byte); });
  const unsigned target[] = {192, 0, 2, 1};
  std::ranges::transform(target, question.begin() + 38,
                         [](unsigned byte) { return std::byte(byte); });
  EXPECT_EQ(bench_.send(*channel_, question), NetSendResult::kSent);
  channel_->flush();
  std::vector<std::byte> answer;
  do {
    answer = bench_.await(*channel_);
    ASSERT_FALSE(answer.empty()) << "no answer";
  } while (answer.size() < 42 || answer[13] != std::byte{6} || answer[21] != std::byte{2});
  EXPECT_EQ(answer[0], std::byte{0x02});  // to us
}

TEST(Program, PasstsOptionsArePasstsBusiness) {
  const auto empty = open_net_backend("passt,,x", {});
  ASSERT_FALSE(empty);
  EXPECT_EQ(empty.error().why, "an option is empty");
}

}  // namespace
}  // namespace airlock::backend
