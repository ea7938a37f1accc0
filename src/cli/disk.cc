// SPDX-License-Identifier: Apache-2.0
#include "cli/disk.h"

namespace airlock::cli {

namespace {

std::unexpected<Failure> refused(const driver::OpenError& error) {
  if (error.misnamed) return usage(error.what, error.why, error.advice);
  return failed(error.what, error.why, error.advice);
}

}  // namespace

std::unexpected<Failure> disk_failed(const std::string& what, const Error& error) {
  return failed(what, describe(error), driver::advice_on(error));
}

std::expected<Device, Failure> open_device(const std::string& device) {
  auto found = driver::open_by_name(device);
  if (!found) return refused(found.error());
  return std::move(*found);
}

std::expected<Disk, Failure> open_disk(const std::string& device,
                                       const driver::Blk::Options& options) {
  auto disk = driver::open_disk_by_name(device, options);
  if (!disk) return refused(disk.error());
  return std::move(*disk);
}

}  // namespace airlock::cli
