// SPDX-License-Identifier: Apache-2.0
//
// A network card's answers to commands, and what it makes of frames that are none: VIRTIO 1.3,
// 5.1.6. Nothing here is sent to a network, nor changes what is received for long.
#include <optional>
#include <span>
#include <vector>

#include <fmt/core.h>

#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"
#include "driver/conformance/violation.h"
#include "spec/virtio_net.h"

namespace airlock::driver::conformance {

namespace {

constexpr std::uint16_t kNetTransmitQueue = 1;
constexpr std::uint16_t kNetControlQueue = 2;  // as MQ is not accepted
constexpr std::uint8_t kNetNoAnswer = 0xee;
constexpr std::uint64_t kNetHeadAt = 0;
constexpr std::uint64_t kNetAnswerAt = 64;
constexpr std::uint64_t kNetBodyAt = 1024;

struct NetCommandTry {
  spec::VirtioNetCtrlHdr header;
  std::uint32_t data_bytes = 0;
  std::uint8_t first_byte = 0;  // of the data; the others are 0
};

/// Brings the device up with queue `index` alone; what is wrong with that, if anything.
Result<std::optional<Finding>> bring_up_net(CheckContext& ctx, std::uint16_t index,
                                            std::uint64_t features) {
  if (ctx.device_type() != spec::VIRTIO_ID_NET) return skipped("the device is no network card");
  if ((ctx.offered() & features) != features) return skipped("it offers no such commands");
  TRY(ctx.common().select_queue(index));
  if (TRY(ctx.common().queue_size()) < ctx.queue().size().value()) {
    return skipped("the queue is smaller than queue 0");
  }
  ctx.accept_also(features);
  ctx.use_queue(index);
  TRY(ctx.bring_up());
  return std::nullopt;
}

/// The answer to one command.
Result<std::uint8_t> run_net_command(CheckContext& ctx, const NetCommandTry& command) {
  RawQueue& queue = ctx.queue();
  queue.data().put(kNetHeadAt, command.header);
  queue.data().store_relaxed<std::uint8_t>(kNetAnswerAt, kNetNoAnswer);
  std::vector<Part> parts{{.offset = kNetHeadAt, .length = sizeof command.header}};
  if (command.data_bytes > 0) {
    queue.data().fill_zero(kNetBodyAt, command.data_bytes);
    queue.data().store_relaxed<std::uint8_t>(kNetBodyAt, command.first_byte);
    parts.push_back({.offset = kNetBodyAt, .length = command.data_bytes});
  }
  parts.push_back({.offset = kNetAnswerAt, .length = 1, .writable = true});
  queue.put_chain(0, parts);
  queue.make_available(0);
  TRY(ctx.notify());
  TRY(ctx.wait_used(queue.avail_index()));
  return queue.data().load_relaxed<std::uint8_t>(kNetAnswerAt);
}

/// A command to a device just brought up, that must be answered so.
Result<Finding> answers_net_command(CheckContext& ctx, unsigned feature,
                                    const NetCommandTry& command, std::uint8_t wanted) {
  const std::uint64_t features = spec::feature(spec::VIRTIO_NET_F_CTRL_VQ) | spec::feature(feature);
  if (auto obstacle = TRY(bring_up_net(ctx, kNetControlQueue, features))) return *obstacle;
  const std::uint8_t answer = TRY(run_net_command(ctx, command));
  if (answer == wanted) return passed();
  return failed(fmt::format("class {}, command {}: answer {:#x}, not {}",
                            command.header.command_class, command.header.command, answer, wanted));
}

Result<Finding> check_net_unknown_class(CheckContext& ctx) {
  return answers_net_command(ctx, spec::VIRTIO_NET_F_CTRL_VQ,
                             {.header = {.command_class = 0xee, .command = 0}, .data_bytes = 1},
                             spec::VIRTIO_NET_ERR);
}

Result<Finding> check_net_unknown_command(CheckContext& ctx) {
  return answers_net_command(
      ctx, spec::VIRTIO_NET_F_CTRL_RX,
      {.header = {.command_class = spec::VIRTIO_NET_CTRL_RX, .command = 0xee}, .data_bytes = 1},
      spec::VIRTIO_NET_ERR);
}

Result<Finding> check_net_short_command(CheckContext& ctx) {
  return answers_net_command(ctx, spec::VIRTIO_NET_F_CTRL_MAC_ADDR,
                             {.header = {.command_class = spec::VIRTIO_NET_CTRL_MAC,
                                         .command = spec::VIRTIO_NET_CTRL_MAC_ADDR_SET},
                              .data_bytes = 5},
                             spec::VIRTIO_NET_ERR);
}

Result<Finding> check_net_promiscuous(CheckContext& ctx) {
  for (const std::uint8_t on : {std::uint8_t{1}, std::uint8_t{0}}) {
    Finding finding =
        TRY(answers_net_command(ctx, spec::VIRTIO_NET_F_CTRL_RX,
                                {.header = {.command_class = spec::VIRTIO_NET_CTRL_RX,
                                            .command = spec::VIRTIO_NET_CTRL_RX_PROMISC},
                                 .data_bytes = 1,
                                 .first_byte = on},
                                spec::VIRTIO_NET_OK));
    if (finding.verdict != Verdict::kPass) return finding;
  }
  return passed();
}

/// A table of more addresses than the command has bytes for.
Result<Finding> check_net_mac_table(CheckContext& ctx) {
  return answers_net_command(ctx, spec::VIRTIO_NET_F_CTRL_RX,
                             {.header = {.command_class = spec::VIRTIO_NET_CTRL_MAC,
                                         .command = spec::VIRTIO_NET_CTRL_MAC_TABLE_SET},
                              .data_bytes = 8,
                              .first_byte = 0xff},
                             spec::VIRTIO_NET_ERR);
}

/// What is no frame comes back, with nothing written, or the device says that it needs a reset.
Result<Finding> check_net_not_sent(CheckContext& ctx, std::uint32_t bytes,
                                   const spec::VirtioNetHdr& header) {
  if (auto obstacle = TRY(bring_up_net(ctx, kNetTransmitQueue, 0))) return *obstacle;
  RawQueue& queue = ctx.queue();
  queue.data().fill_zero(kNetHeadAt, sizeof header + bytes);
  queue.data().put(kNetHeadAt, header);
  return expect_nothing_done(ctx, {.offset = kNetHeadAt, .length = bytes});
}

Result<Finding> check_net_short_header(CheckContext& ctx) {
  return check_net_not_sent(ctx, sizeof(spec::VirtioNetHdr) - 1, {});
}

Result<Finding> check_net_no_frame(CheckContext& ctx) {
  return check_net_not_sent(ctx, sizeof(spec::VirtioNetHdr), {});
}

// Segments, and a checksum far outside of the frame, neither of which was negotiated.
Result<Finding> check_net_bad_header(CheckContext& ctx) {
  spec::VirtioNetHdr header;
  header.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.gso_type = 0x7f;
  header.csum_start.set(0xffff);
  header.csum_offset.set(0xffff);
  return check_net_not_sent(ctx, sizeof header + 1, header);
}

constexpr Check kNetChecks[] = {
    {"VIRTIO-5.1.6.5/class", "net: a command of no class gets ERR", Needs::kRegion,
     check_net_unknown_class},
    {"VIRTIO-5.1.6.5/command", "net: a command that there is none of gets ERR", Needs::kRegion,
     check_net_unknown_command},
    {"VIRTIO-5.1.6.5/short", "net: a command without its data gets ERR", Needs::kRegion,
     check_net_short_command},
    {"VIRTIO-5.1.6.5.1", "net: promiscuous mode on and off", Needs::kRegion, check_net_promiscuous},
    {"VIRTIO-5.1.6.5.2", "net: a table of addresses that are not there gets ERR", Needs::kRegion,
     check_net_mac_table},
    {"VIRTIO-5.1.6.2/short", "net: what is shorter than a header ends", Needs::kRegion,
     check_net_short_header},
    {"VIRTIO-5.1.6.2/empty", "net: a header without a frame ends", Needs::kRegion,
     check_net_no_frame},
    {"VIRTIO-5.1.6.2/nonsense", "net: a header that makes no sense ends", Needs::kRegion,
     check_net_bad_header},
};

}  // namespace

std::span<const Check> net_checks() {
  return kNetChecks;
}

}  // namespace airlock::driver::conformance
