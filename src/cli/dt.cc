// SPDX-License-Identifier: Apache-2.0
#include "cli/dt.h"

#include <fcntl.h>

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/fd.h"
#include "base/size.h"
#include "cli/whole_io.h"
#include "dt/pools.h"

namespace airlock::cli {

namespace {

using nlohmann::ordered_json;

/// All of it, or a little more than a tree may have.
Result<std::vector<std::byte>> read_blob(const Fd& fd) {
  std::vector<std::byte> all(dt::Tree::kBytesMax + 1);
  all.resize(TRY(read_full(fd, all)));
  return all;
}

std::expected<dt::Tree, Failure> read_tree(const std::string& path) {
  const std::string what = fmt::format("--input {}", path);
  const auto fd = open_path(path, O_RDONLY);
  if (!fd) return failed(what, describe(fd.error()), "check the path and its permissions");
  const auto blob = read_blob(*fd);
  if (!blob) return failed(what, describe(blob.error()), "check that it is a file");
  auto tree = dt::Tree::parse(*blob);
  if (!tree) return failed(what, tree.error(), "give a device tree blob (.dtb)");
  return std::move(*tree);
}

std::string place_of(const dt::Pool& pool) {
  const std::string size = format_size(pool.bytes);
  return pool.base ? fmt::format("{:#x}+{}", *pool.base, size)
                   : fmt::format("{}, where the kernel likes", size);
}

const char* state_of(const dt::Pool& pool) {
  if (!pool.sound) return "refused";
  return pool.available ? "good" : "disabled";
}

const char* weight_word(dt::Finding::Weight weight) {
  return weight == dt::Finding::Weight::kRefused ? "refused" : "note";
}

void print_words(const dt::Report& report) {
  if (report.pools.empty()) fmt::print("no restricted DMA pool\n");
  for (const dt::Pool& pool : report.pools)
    fmt::print("pool     {}  {}  {}\n", pool.path, place_of(pool), state_of(pool));
  for (const dt::User& user : report.users) {
    fmt::print("user     {}{}  {}\n", user.path, user.host_bridge ? " and what is behind it" : "",
               user.pool ? report.pools[*user.pool].path : "no pool");
  }
  for (const dt::Finding& finding : report.findings) {
    fmt::print("{:<8} {}  {}  {}\n", weight_word(finding.weight), finding.rule, finding.path,
               finding.words);
  }
}

/// Text of the tree's may be no UTF-8: that is replaced.
void print_json(const dt::Report& report) {
  ordered_json pools = ordered_json::array();
  for (const dt::Pool& pool : report.pools) {
    pools.push_back({{"path", pool.path},
                     {"base", pool.base ? ordered_json(*pool.base) : ordered_json()},
                     {"bytes", pool.bytes},
                     {"state", state_of(pool)}});
  }
  ordered_json users = ordered_json::array();
  for (const dt::User& user : report.users) {
    users.push_back(
        {{"path", user.path},
         {"host_bridge", user.host_bridge},
         {"pool", user.pool ? ordered_json(report.pools[*user.pool].path) : ordered_json()}});
  }
  ordered_json findings = ordered_json::array();
  for (const dt::Finding& finding : report.findings) {
    findings.push_back({{"weight", weight_word(finding.weight)},
                        {"rule", finding.rule},
                        {"path", finding.path},
                        {"what", finding.words}});
  }
  const ordered_json all = {{"pools", pools}, {"users", users}, {"findings", findings}};
  fmt::print("{}\n", all.dump(2, ' ', false, ordered_json::error_handler_t::replace));
}

}  // namespace

Outcome dt_pool(const DtPoolOptions& options) {
  if (options.request.nodes.empty() && !options.request.host_bridge) {
    return usage("dt pool", "nobody is to use the pool", "give --node PATH or --pci-host");
  }
  const auto tree = read_tree(options.input);
  if (!tree) return std::unexpected(tree.error());
  const auto made = dt::add_pool(*tree, options.request);
  if (!made) return failed("dt pool", made.error(), "see airlock dt check, and --help");
  const std::string what = fmt::format("--output {}", options.output);
  const auto fd = open_path(options.output, O_WRONLY | O_CREAT | O_TRUNC);
  if (!fd) return failed(what, describe(fd.error()), "check the directory and its permissions");
  if (auto put = write_full(*fd, *made); !put) {
    return failed(what, describe(put.error()), "see whether the disk is full");
  }
  return {};
}

Outcome dt_check(const DtCheckOptions& options) {
  const auto tree = read_tree(options.input);
  if (!tree) return std::unexpected(tree.error());
  const dt::Report report = dt::inspect(*tree);
  if (options.json) {
    print_json(report);
  } else {
    print_words(report);
  }
  if (report.sound()) return {};
  return failed(fmt::format("dt check {}", options.input),
                "Linux would let a device at all memory that is meant to have a pool",
                "mend what is refused above");
}

}  // namespace airlock::cli
