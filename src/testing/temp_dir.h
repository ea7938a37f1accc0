// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/check.h"

namespace airlock::testing {

/// A folder that is gone, with all that is in it, when this is.
class TempDir {
 public:
  TempDir() { CHECK(::mkdtemp(path_.data()) != nullptr); }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_ = (std::filesystem::temp_directory_path() / "airlock-XXXXXX").string();
};

}  // namespace airlock::testing
