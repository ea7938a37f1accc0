// SPDX-License-Identifier: Apache-2.0
//
// Goal: what a driver holds of its file system, after any requests and replies, is what the next
// backend is told (VIRTIO 1.3, 5.11.6); names that could lead out of a directory never are. Method:
// requests and replies as a driver and virtiofsd exchange them; the stream is read back by a reader
// of the test's own.
#include "device/gateway/fuse_session.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "device/gateway/virtiofsd_state.h"
#include "spec/fuse.h"
#include "wire/message.h"

namespace airlock::device {
namespace {

using Extent = FuseSession::Extent;
using vfio_user::append_struct;
using vfio_user::bytes_of;

constexpr std::uint64_t kRoot = spec::FUSE_ROOT_ID;

std::vector<std::byte> entry_of(std::uint64_t node) {
  spec::FuseEntryOut out{};
  out.nodeid.set(node);
  return bytes_of(out);
}

std::vector<std::byte> open_of(std::uint64_t handle) {
  spec::FuseOpenOut out{};
  out.fh.set(handle);
  return bytes_of(out);
}

/// Reads a stream in postcard's format, as text: "node*references=parent/name".
class Reader {
 public:
  explicit Reader(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}

  std::string text() {
    EXPECT_EQ(number(), 0U);  // version 1
    std::string said;
    for (std::uint64_t left = number(); left > 0; --left)
      said += inode();
    said += fmt::format("next {};", number());
    for (std::uint64_t left = number(); left > 0; --left) {
      const auto id = number();
      const auto node = number();
      EXPECT_EQ(number(), 0U);
      said += fmt::format(" {}->{} {:o}", id, node, number() / 2);
    }
    said += fmt::format(" next {}; ", number());
    for (int i = 0; i < 4; ++i)
      said += number() != 0 ? 'y' : 'n';
    EXPECT_EQ(at_, bytes_.size());
    return said;
  }

 private:
  std::uint64_t number() {
    std::uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto byte = std::to_integer<std::uint64_t>(bytes_.at(at_++));
      value |= (byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
  }
  std::string inode() {
    std::string said = fmt::format("{}*", number());
    said += fmt::format("{}=", number());
    if (number() == 1) {
      said += fmt::format("{}/", number());
      for (std::uint64_t left = number(); left > 0; --left)
        said += static_cast<char>(bytes_.at(at_++));
    }
    EXPECT_EQ(number(), 0U);  // no file handle to compare with
    return said + " ";
  }

  std::vector<std::byte> bytes_;
  std::size_t at_ = 0;
};

class FuseSessionTest : public ::testing::Test {
 protected:
  FuseSessionTest() { begin(); }

  void begin(std::uint64_t flags = 0) {
    spec::FuseInitOut out{};
    out.flags.set(static_cast<std::uint32_t>(flags));
    out.flags2.set(static_cast<std::uint32_t>(flags >> 32U));
    session_.answered({.opcode = spec::FUSE_INIT}, bytes_of(out));
  }
  void find(std::uint64_t parent, const std::string& name, std::uint64_t node) {
    session_.answered({.opcode = spec::FUSE_LOOKUP, .node = parent, .name = name}, entry_of(node));
  }
  void open(std::uint64_t node, std::uint64_t handle, std::uint32_t flags = O_RDWR) {
    session_.answered({.opcode = spec::FUSE_OPEN, .node = node, .flags = flags}, open_of(handle));
  }
  void forget(std::uint64_t node, std::uint64_t lookups) {
    session_.answered({.opcode = spec::FUSE_FORGET, .forgotten = {{node, lookups}}}, {});
  }
  void rename(std::uint64_t parent, const std::string& name, std::uint64_t to,
              const std::string& new_name, std::uint32_t flags = 0) {
    session_.answered({.opcode = spec::FUSE_RENAME2,
                       .node = parent,
                       .other_node = to,
                       .flags = flags,
                       .name = name,
                       .new_name = new_name},
                      {});
  }
  [[nodiscard]] std::string told(Extent extent = Extent::kAll, bool submounts = true) const {
    return Reader(session_.state(extent, submounts)).text();
  }

  FuseSession session_;
};

TEST_F(FuseSessionTest, BeginsWithTheRootAndWhatWasAgreedOn) {
  EXPECT_TRUE(session_.begun());
  EXPECT_EQ(told(), "1*2= next 2; next 1; nnnn");
  begin(1U << spec::FUSE_WRITEBACK_CACHE | 1U << spec::FUSE_SUBMOUNTS | 1U << spec::FUSE_POSIX_ACL |
        std::uint64_t{1} << spec::FUSE_CREATE_SUPP_GROUP);
  EXPECT_EQ(told(), "1*2= next 2; next 1; yyyy");
  EXPECT_EQ(told(Extent::kAll, false), "1*2= next 2; next 1; ynyy");
  session_.answered({.opcode = spec::FUSE_DESTROY}, {});
  EXPECT_FALSE(session_.begun());
}

// To the byte, once: the format is another project's.
TEST_F(FuseSessionTest, IsWrittenAsVirtiofsdReadsIt) {
  VirtiofsdState state{.root_references = 3,
                       .inodes = {{.id = 300, .references = 1, .parent = 1, .name = "ab"}},
                       .next_inode = 301,
                       .handles = {{.id = 5, .inode = 300, .flags = 2}},
                       .next_handle = 6,
                       .writeback = false,
                       .announce_submounts = true,
                       .posix_acl = false,
                       .supplementary_groups = true};
  const std::uint8_t expected[] = {0, 2,    1, 3, 0, 0,    0xac, 2, 1, 1, 1, 2, 'a', 'b',
                                   0, 0xad, 2, 1, 5, 0xac, 2,    0, 4, 6, 0, 1, 0,   1};
  const auto bytes = std::as_bytes(std::span(expected));
  EXPECT_EQ(state.encode(), std::vector<std::byte>(bytes.begin(), bytes.end()));
}

TEST_F(FuseSessionTest, KeepsNodesUnderTheirNames) {
  find(kRoot, "dir", 2);
  find(2, "file", 3);
  find(2, "file", 3);
  find(kRoot, "none", 0);
  open(3, 7, O_WRONLY | O_TRUNC | O_CREAT | O_EXCL | O_APPEND);
  EXPECT_EQ(told(), "1*3= 2*2=1/dir 3*2=2/file next 4; 7->3 1 next 8; nnnn");
  // Ids that were once given out never come again, forgotten or not.
  session_.answered({.opcode = spec::FUSE_RELEASE, .node = 3, .handle = 7}, {});
  forget(3, 1);
  EXPECT_EQ(told(), "1*3= 2*2=1/dir 3*1=2/file next 4; next 8; nnnn");
  forget(3, 5);
  EXPECT_FALSE(session_.knows(3));
  EXPECT_EQ(told(), "1*3= 2*1=1/dir next 4; next 8; nnnn");
  // What lies below a node that is forgotten can't be found again.
  find(2, "file", 3);
  forget(2, 1);
  EXPECT_EQ(told(), "1*2= next 4; next 8; nnnn");
}

TEST_F(FuseSessionTest, KnowsWhatMakesAndOpensFiles) {
  auto made = entry_of(2);
  const auto opened = open_of(4);
  made.insert(made.end(), opened.begin(), opened.end());
  session_.answered(
      {.opcode = spec::FUSE_CREATE, .node = kRoot, .flags = O_RDWR | O_CREAT, .name = "a"}, made);
  session_.answered({.opcode = spec::FUSE_MKDIR, .node = kRoot, .name = "d"}, entry_of(3));
  session_.answered({.opcode = spec::FUSE_OPENDIR, .node = 3}, open_of(5));
  session_.answered({.opcode = spec::FUSE_OPENDIR, .node = kRoot}, open_of(6));
  const auto directory = fmt::format("{:o}", O_DIRECTORY);
  EXPECT_EQ(told(), "1*4= 2*1=1/a 3*1=1/d next 4; 4->2 2 5->3 " + directory + " 6->1 " + directory +
                        " next 7; nnnn");
  // A link is another name of the same file.
  session_.answered({.opcode = spec::FUSE_LINK, .node = 3, .other_node = 2, .name = "b"},
                    entry_of(2));
  EXPECT_EQ(told(Extent::kRoot), "1*2= next 4; next 7; nnnn");
  session_.keep(Extent::kOpen);
  EXPECT_EQ(told(), "1*3= 3*2=1/d 2*2=3/b next 4; 4->2 2 5->3 " + directory + " 6->1 " + directory +
                        " next 7; nnnn");
}

TEST_F(FuseSessionTest, FollowsNames) {
  find(kRoot, "a", 2);
  find(kRoot, "b", 3);
  find(kRoot, "d", 4);
  rename(kRoot, "a", 4, "c");
  EXPECT_EQ(told(), "1*4= 3*1=1/b 4*2=1/d 2*1=4/c next 5; next 1; nnnn");
  rename(kRoot, "b", 4, "c", 2);  // exchanged
  EXPECT_EQ(told(), "1*4= 2*1=1/b 4*2=1/d 3*1=4/c next 5; next 1; nnnn");
  rename(kRoot, "b", 4, "c");  // in the place of another, which has no name then
  EXPECT_EQ(told(), "1*3= 4*2=1/d 2*1=4/c next 5; next 1; nnnn");
  EXPECT_TRUE(session_.knows(3));
  session_.answered({.opcode = spec::FUSE_UNLINK, .node = 4, .name = "c"}, {});
  EXPECT_EQ(told(), "1*3= 4*1=1/d next 5; next 1; nnnn");
  find(kRoot, "d", 9);  // the host put another there
  EXPECT_EQ(told(), "1*3= 9*1=1/d next 10; next 1; nnnn");
  session_.keep(Extent::kAll);
  EXPECT_FALSE(session_.knows(3) || session_.knows(4));
}

TEST_F(FuseSessionTest, ReadsListsWithNodes) {
  std::vector<std::byte> list;
  for (const auto& [node, name] : {std::pair<int, std::string>{0, "."}, {5, "one"}, {6, "two"}}) {
    const auto entry = entry_of(static_cast<std::uint64_t>(node));
    list.insert(list.end(), entry.begin(), entry.end());
    spec::FuseDirent dirent{};
    dirent.namelen.set(static_cast<std::uint32_t>(name.size()));
    append_struct(list, dirent);
    const auto text = std::as_bytes(std::span(name));
    list.insert(list.end(), text.begin(), text.end());
    list.resize((list.size() + 7) / 8 * 8);
  }
  const FuseRequest request{.opcode = spec::FUSE_READDIRPLUS, .node = kRoot};
  session_.answered(request, list);
  EXPECT_EQ(told(), "1*4= 5*1=1/one 6*1=1/two next 7; next 1; nnnn");
  // Cut anywhere it is read as far as it goes.
  for (std::size_t bytes = 0; bytes < list.size(); ++bytes)
    session_.answered(request, std::span(list).first(bytes));
  EXPECT_TRUE(session_.knows(5));
}

// What a stream has of the driver's is a file's name in its directory, or nothing.
TEST_F(FuseSessionTest, HandsOnNoNameThatLeavesItsDirectory) {
  std::uint64_t node = 2;
  for (const std::string name : {"", ".", "..", "../x", "a/b", "/etc", "\xff", "\xc0\xaf",
                                 "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"}) {
    find(kRoot, name, node++);
    EXPECT_TRUE(told().starts_with("1*2= next ")) << name;
  }
  find(kRoot, std::string("a\0b", 3), node++);
  find(kRoot, std::string(256, 'a'), node++);
  EXPECT_EQ(told(), "1*2= next 15; next 1; nnnn");
  find(kRoot, std::string(255, 'a'), node++);
  find(kRoot, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", node++);
  EXPECT_EQ(told(), "1*4= 15*1=1/" + std::string(255, 'a') +
                        " 16*1=1/\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80 next 17; next 1; nnnn");
}

// Nodes that lead to each other lead nowhere, and end no loop's patience.
TEST_F(FuseSessionTest, IsNotCaughtInCircles) {
  find(kRoot, "a", 2);
  find(2, "b", 3);
  rename(kRoot, "a", 3, "c");
  open(3, 1);
  find(2, "self", 2);
  EXPECT_EQ(told(Extent::kOpen), "1*2= next 4; next 2; nnnn");
  session_.keep(Extent::kOpen);
  EXPECT_FALSE(session_.knows(2));
  find(77, "x", 5);  // in a directory that nobody was told of
  EXPECT_EQ(told(), "1*2= next 6; next 2; nnnn");
}

}  // namespace
}  // namespace airlock::device
