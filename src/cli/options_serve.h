// SPDX-License-Identifier: Apache-2.0
//
// The subcommands of `airlock serve`, one a kind of device.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/option_types.h"
#include "cli/serve_blk.h"
#include "cli/serve_console.h"
#include "cli/serve_net.h"
#include "cli/serve_options.h"
#include "cli/serve_rng.h"
#include "cli/serve_vhost_user.h"
#include "cli/serve_vsock.h"

namespace airlock::cli {

/// What every kind of device has. `options` outlives the parsing.
void add_serve_options(CLI::App& app, ServeOptions& options);
/// --encrypt, of those whose queues our driver can encrypt. The same.
void add_serve_encryption(CLI::App& app, ServeOptions& options);

// Each adds its subcommand to `serve`, which sets `action`. `options` outlives the action.
void add_serve_blk(CLI::App& serve, Action& action, ServeBlkOptions& options);
void add_serve_console(CLI::App& serve, Action& action, ServeConsoleOptions& options);
void add_serve_rng(CLI::App& serve, Action& action, ServeRngOptions& options);
void add_serve_net(CLI::App& serve, Action& action, ServeNetOptions& options);
void add_serve_vhost_user(CLI::App& serve, Action& action, ServeVhostUserOptions& options);
void add_serve_vsock(CLI::App& serve, Action& action, ServeVsockOptions& options);

}  // namespace airlock::cli
