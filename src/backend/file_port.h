// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "backend/port_backend.h"
#include "base/fd.h"

namespace airlock::backend {

/// A file that everything from the guest is appended to. Nothing ever comes from it. What can't be
/// written (a full disk) is lost, with a line in the log for the first.
class FilePort final : public PortBackend {
 public:
  /// Makes the file, where there is none, for its owner alone. Errors: kSystem.
  static Result<std::unique_ptr<FilePort>> open(const std::string& path);

  [[nodiscard]] std::string describe() const override { return "file " + path_; }
  void add_watches(const PortInterest& interest, std::vector<pollfd>& target) const override;
  void attend(const PortInterest& /*interest*/) override {}
  [[nodiscard]] bool connected() const override { return true; }
  std::size_t read(std::span<std::byte> /*target*/) override { return 0; }
  std::size_t write(std::span<const std::byte> source) override;

 private:
  FilePort(std::string path, Fd file) : path_(std::move(path)), file_(std::move(file)) {}

  std::string path_;
  Fd file_;
  bool failed_ = false;  // and it has been said
};

}  // namespace airlock::backend
