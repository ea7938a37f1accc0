// SPDX-License-Identifier: Apache-2.0
//
// Goal: clients read the end after what they were owed, and no other socket is touched. Method:
// sockets of this process, both ends.
#include "attach/clients.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/fd.h"
#include "wire/listener.h"

namespace airlock::attach {
namespace {

class ClientsTest : public ::testing::Test {
 protected:
  ClientsTest() { CHECK(mkdtemp(folder_.data()) != nullptr); }
  ~ClientsTest() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] Fd connect() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (folder_ + "/socket").copy(address.sun_path, sizeof address.sun_path - 1);
    Fd fd = MUST(own_fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  /// What there is to read: 0 at the end, -1 if nothing comes yet.
  static ssize_t readable(const Fd& fd) {
    std::array<char, 16> bytes{};
    return recv(fd.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  }

  std::string folder_ = (std::filesystem::temp_directory_path() / "clients_XXXXXX").string();
  vfio_user::Listener listener_;
};

TEST_F(ClientsTest, EndsTheInputOfClientsAlone) {
  EXPECT_EQ(hang_up_on_clients(), 0U);
  listener_ = MUST(vfio_user::Listener::create(folder_ + "/socket"));
  std::array<int, 2> pair{};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair.data()), 0);
  const Fd one(pair[0]);
  const Fd other(pair[1]);
  const Fd ours = connect();
  const Fd client = MUST(listener_.accept());
  EXPECT_EQ(hang_up_on_clients(), 1U);
  EXPECT_EQ(readable(client), 0);
  EXPECT_EQ(readable(ours), -1);
  EXPECT_EQ(readable(one), -1);
  EXPECT_EQ(readable(other), -1);
  // What it is owed still reaches it, and others may come.
  EXPECT_EQ(send(client.get(), "reply", 5, MSG_NOSIGNAL), 5);
  EXPECT_EQ(readable(ours), 5);
  const Fd second = connect();
  EXPECT_TRUE(MUST(listener_.accept()));
}

}  // namespace
}  // namespace airlock::attach
