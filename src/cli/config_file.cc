// SPDX-License-Identifier: Apache-2.0
#include "cli/config_file.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>

#include <toml++/toml.h>

#include "base/error.h"
#include "cli/options.h"
#include "cli/serve_options.h"

namespace airlock::cli {

namespace {

constexpr std::string_view kConfigAdvice = "see airlock serve --help";

std::uint32_t line_of(const toml::node& node) {
  return node.source().begin.line;
}

std::string place(const std::string& file, std::uint32_t line) {
  return fmt::format("{}:{}", file, line);
}

std::unexpected<Failure> wrong(const std::string& file, std::uint32_t line, std::string why,
                               std::string_view advice = kConfigAdvice) {
  return usage(place(file, line), std::move(why), std::string(advice));
}

/// A value as a command line has it; nothing for what no option takes (a list, a date, a table).
std::optional<std::string> text_of(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  if (const auto* flag = node.as_boolean()) return flag->get() ? "on" : "off";
  return std::nullopt;
}

/// The word for one key, empty for a flag that is off.
std::expected<std::string, Failure> word_of(const std::string& file, const DeviceConfig& device,
                                            const std::string& key, const toml::node& node) {
  const std::uint32_t line = line_of(node);
  const auto takes = serve_option(device.type, "--" + key);
  if (!takes) {
    return wrong(file, line, fmt::format("{}: {} has no such option", key, device.type),
                 fmt::format("see airlock serve {} --help", device.type));
  }
  if (key == "sandbox") {
    return wrong(file, line, "sandbox: it is one for all devices", "put it before the first one");
  }
  if (*takes == OptionTakes::kNothing) {
    const auto* flag = node.as_boolean();
    if (flag == nullptr) return wrong(file, line, key + ": it is true or false");
    return flag->get() ? "--" + key : std::string();
  }
  const auto text = text_of(node);
  if (!text) return wrong(file, line, key + ": it is a text or a number");
  return fmt::format("--{}={}", key, *text);
}

/// Where an error of the parser comes from, as it names the option.
std::uint32_t line_of_error(const DeviceConfig& device, std::string_view error) {
  std::uint32_t line = device.line;
  std::size_t longest = 0;
  for (const auto& [key, key_line] : device.lines) {
    if (key.size() > longest && error.find("--" + key) != std::string_view::npos) {
      longest = key.size();
      line = key_line;
    }
  }
  return line;
}

std::expected<DeviceConfig, Failure> read_device(const std::string& file,
                                                 const toml::table& table) {
  DeviceConfig device;
  device.line = line_of(table);
  const auto* type = table.get_as<std::string>("type");
  if (type == nullptr) {
    return wrong(file, device.line, "type: it is missing",
                 "write which kind it is: type = \"blk\"");
  }
  device.type = type->get();
  if (!serves(device.type)) {
    return wrong(file, line_of(*type), fmt::format("type: there is no '{}'", device.type));
  }
  for (const auto& [name, node] : table) {
    const std::string key(name.str());
    if (key == "type") continue;
    device.lines[key] = line_of(node);
    auto word = word_of(file, device, key, node);
    if (!word) return std::unexpected(word.error());
    if (!word->empty()) device.words.push_back(std::move(*word));
  }
  std::ranges::sort(device.words);
  const auto* socket = table.get_as<std::string>("socket");
  if (socket == nullptr) {
    return wrong(file, device.line, "socket: it is missing", "write where QEMU finds the device");
  }
  device.name = socket->get();
  if (auto parsed = parse_serve(device.type, device.words); !parsed) {
    return wrong(file, line_of_error(device, parsed.error()), parsed.error(),
                 fmt::format("see airlock serve {} --help", device.type));
  }
  return device;
}

std::expected<Config, Failure> read_table(const std::string& file, const toml::table& table) {
  Config config;
  for (const auto& [name, node] : table) {
    const std::string key(name.str());
    if (key == "sandbox") {
      const auto text = text_of(node);
      if (text != "on" && text != "off") {
        return wrong(file, line_of(node), R"(sandbox: it is "on" or "off")");
      }
      config.sandbox = text == "on";
    } else if (key != "device" || !node.is_array_of_tables()) {
      return wrong(file, line_of(node), key + ": there is no such thing here",
                   "write [[device]] before what belongs to a device");
    }
  }
  const auto* devices = table["device"].as_array();
  if (devices == nullptr) return wrong(file, 1, "it has no [[device]]");
  for (const toml::node& node : *devices) {
    auto device = read_device(file, *node.as_table());
    if (!device) return std::unexpected(device.error());
    const auto same = std::ranges::find(config.devices, device->name, &DeviceConfig::name);
    if (same != config.devices.end()) {
      return wrong(file, device->lines["socket"],
                   fmt::format("socket: the device of line {} has it", same->line),
                   "give each device a socket of its own");
    }
    config.devices.push_back(std::move(*device));
  }
  return config;
}

}  // namespace

std::string DeviceConfig::shared_region() const {
  constexpr std::string_view kRegion = "--region=";
  for (const std::string_view word : words) {
    if (word.starts_with(kRegion))
      return std::string(shared_region_name(word.substr(kRegion.size())));
  }
  return {};
}

std::expected<Config, Failure> parse_config(const std::string& text, const std::string& file) {
  try {
    return read_table(file, toml::parse(text, file));
  } catch (const toml::parse_error& error) {
    return wrong(file, error.source().begin.line, std::string(error.description()),
                 "see https://toml.io for the format");
  }
}

std::expected<Config, Failure> read_config(const std::string& file) {
  std::ifstream stream(file);
  std::ostringstream text;
  if (stream) text << stream.rdbuf();
  if (!stream) {
    return failed("read " + file, describe(system_error()), "name a file that can be read");
  }
  return parse_config(text.str(), file);
}

}  // namespace airlock::cli
