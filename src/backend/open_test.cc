// SPDX-License-Identifier: Apache-2.0
// What people write after --backend, and what they are told.
#include "backend/open.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

namespace airlock::backend {
namespace {

class OpenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "airlock-open-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string image(const std::string& name, std::uint64_t size) const {
    const std::string path = folder_ / name;
    {
      const std::ofstream create(path);
    }
    std::filesystem::resize_file(path, size);
    return path;
  }
  static std::string refusal(const std::string& spec, bool read_only = false) {
    const auto opened = open_backend(spec, {.read_only = read_only});
    return opened ? "" : opened.error().text();
  }

  std::filesystem::path folder_;
};

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST_F(OpenTest, OpensMemoryAndFiles) {
  const auto memory = open_backend("memory:64M", {});
  ASSERT_TRUE(memory);
  EXPECT_EQ((*memory)->geometry().capacity_bytes, 64U << 20);
  EXPECT_EQ((*memory)->describe(), "memory, 64M");

  const auto nothing = open_backend("null:1G", {.read_only = true});
  ASSERT_TRUE(nothing);
  EXPECT_EQ((*nothing)->geometry().capacity_bytes, 1U << 30);
  EXPECT_TRUE((*nothing)->geometry().read_only);

  const std::string path = image("disk.img", 1 << 20);
  const auto file = open_backend("file:" + path, {.read_only = true});
  ASSERT_TRUE(file) << file.error().text();
  EXPECT_EQ((*file)->geometry().capacity_bytes, 1U << 20);
  EXPECT_TRUE((*file)->geometry().read_only);
}

TEST_F(OpenTest, TakesOptionsOffTheEndAndLeavesOtherCommasAlone) {
  const std::string path = image("a,b=c.img", 4096);
  for (const char* options : {"", ",engine=threads", ",engine=io_uring", ",engine=auto",
                              ",direct=off", ",direct=off,engine=threads"}) {
    EXPECT_EQ(refusal("file:" + path + options), "");
  }
  EXPECT_SAYS(refusal("file:" + path + ",engine=magic"), "No such file");
}

TEST_F(OpenTest, ExplainsWhatIsNotABackend) {
  EXPECT_SAYS(refusal("disk.img"), "does not say what kind");
  EXPECT_SAYS(refusal("tape:0"), "no backend of this kind");
  EXPECT_SAYS(refusal(""), "file:PATH");
  EXPECT_SAYS(refusal("file:"), "path is missing");
  EXPECT_SAYS(refusal("file:,direct=on"), "path is missing");
  EXPECT_SAYS(refusal("memory:"), "size is not one");
  EXPECT_SAYS(refusal("memory:1X"), "memory:1G");
  for (const char* spec :
       {"memory:0", "memory:1", "memory:100", "memory:513", "null:0", "null:513"}) {
    EXPECT_SAYS(refusal(spec), "multiple of 512");
  }
  EXPECT_SAYS(refusal("null:"), "size is not one");
}

TEST_F(OpenTest, ExplainsWhatIsNotAnImage) {
  EXPECT_SAYS(refusal("file:" + (folder_ / "none").string()), "truncate -s");
  EXPECT_SAYS(refusal("file:" + image("empty", 0)), "it is empty");
  EXPECT_SAYS(refusal("file:" + image("odd", 513)), "513 bytes, is not a multiple of 512");
  EXPECT_SAYS(refusal("file:" + folder_.string(), true), "neither a file nor a block device");
  EXPECT_SAYS(refusal("file:/dev/full"), "neither a file nor a block device");
  const std::string fifo = folder_ / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_SAYS(refusal("file:" + fifo, true), "neither a file nor a block device");  // does not hang
}

TEST_F(OpenTest, LetsOneWriteOrManyRead) {
  const std::string spec = "file:" + image("disk.img", 4096);
  {
    const auto writer = open_backend(spec, {});
    ASSERT_TRUE(writer);
    EXPECT_SAYS(refusal(spec), "another process is using it");
    EXPECT_SAYS(refusal(spec, true), "another process is using it");
  }
  {
    const auto reader = open_backend(spec, {.read_only = true});
    ASSERT_TRUE(reader);
    EXPECT_EQ(refusal(spec, true), "");
    EXPECT_SAYS(refusal(spec), "let all of them use --readonly");
  }
  EXPECT_EQ(refusal(spec), "");  // given back with the backend
}

TEST_F(OpenTest, SaysWhoMayNotWrite) {
  if (geteuid() == 0) GTEST_SKIP() << "root may";
  const std::string path = image("disk.img", 4096);
  ASSERT_EQ(chmod(path.c_str(), 0400), 0);
  EXPECT_SAYS(refusal("file:" + path), "--readonly");
  EXPECT_EQ(refusal("file:" + path, true), "");
}

}  // namespace
}  // namespace airlock::backend
