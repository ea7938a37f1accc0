// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/fd.h"
#include "cli/outcome.h"
#include "compare/report/report.h"

namespace airlock::cli {

/// The file that `--html` names: opened before anything is run, written once at the end. What was
/// there is kept until then; a file that was made and not written is taken away.
class PageFile {
 public:
  PageFile() = default;
  ~PageFile();
  PageFile(const PageFile&) = delete;
  PageFile& operator=(const PageFile&) = delete;

  /// Errors: it can't be written. `-`: standard output.
  Outcome open(const std::string& path);
  /// The page about `report`, once, after open(). Errors: the disk is full.
  Outcome write(const compare::Report& report);

 private:
  std::string path_;
  Fd file_;
  bool made_ = false;
};

/// The page about what `--json` printed to the file `from`, in the file `page`. Errors: either
/// file.
Outcome page_from_file(const std::string& from, const std::string& page);

}  // namespace airlock::cli
