// SPDX-License-Identifier: Apache-2.0
#include "cli/compare_page.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vector>

#include "cli/compare_report.h"
#include "cli/whole_io.h"
#include "compare/report/page.h"

namespace airlock::cli {

namespace {

constexpr std::size_t kReportBytesMost = std::size_t{16} << 20;

std::expected<compare::Report, Failure> read_report(const std::string& path) {
  const std::string what = "--from " + path;
  const auto file = open_path(path, O_RDONLY);
  if (!file) return failed(what, describe(file.error()), "check the path and its permissions");
  std::string text(kReportBytesMost + 1, '\0');
  const auto bytes = read_full(*file, std::as_writable_bytes(std::span(text)));
  if (!bytes) return failed(what, describe(bytes.error()), "check that it is a file");
  if (*bytes > kReportBytesMost) {
    return failed(what, "it has more than 16 MiB", "give what compare --json printed");
  }
  text.resize(*bytes);
  auto report = parse_report(text);
  if (!report) return failed(what, report.error(), "give what compare --json printed");
  return std::move(*report);
}

}  // namespace

PageFile::~PageFile() {
  if (made_) static_cast<void>(::unlink(path_.c_str()));
}

Outcome PageFile::open(const std::string& path) {
  path_ = path;
  auto file = open_path(path, O_WRONLY | O_CREAT | O_EXCL);
  made_ = file && path != "-";
  if (!file) file = open_path(path, O_WRONLY);
  if (!file) {
    return failed("--html " + path, describe(file.error()),
                  "check the directory and its permissions");
  }
  file_ = std::move(*file);
  return {};
}

Outcome PageFile::write(const compare::Report& report) {
  const std::string text = page_of(report);
  struct stat status = {};
  const bool regular = ::fstat(file_.get(), &status) == 0 && S_ISREG(status.st_mode);
  // A pipe or a terminal has nothing to take away.
  Result<void> written = {};
  if (regular && path_ != "-" && ::ftruncate(file_.get(), 0) != 0) written = fail(system_error());
  if (written) written = write_full(file_, std::as_bytes(std::span(text)));
  if (!written) {
    return failed("--html " + path_, describe(written.error()), "see whether the disk is full");
  }
  made_ = false;
  return {};
}

Outcome page_from_file(const std::string& from, const std::string& page) {
  const auto report = read_report(from);
  if (!report) return std::unexpected(report.error());
  PageFile file;
  TRY(file.open(page));
  return file.write(*report);
}

}  // namespace airlock::cli
