// SPDX-License-Identifier: Apache-2.0
//
// The tables of checks, one a concern.
#pragma once

#include <span>

#include "driver/conformance/check.h"

namespace airlock::driver::conformance {

std::span<const Check> pci_checks();           // configuration space and capabilities
std::span<const Check> pci_window_checks();    // access through configuration space
std::span<const Check> region_checks();        // where the region is, and what offers it
std::span<const Check> common_checks();        // registers of the common configuration
std::span<const Check> vector_checks();        // MSI-X vectors of the common configuration, ISR
std::span<const Check> feature_checks();       // the offer, and what FEATURES_OK says
std::span<const Check> status_checks();        // device status, reset
std::span<const Check> address_checks();       // addresses outside the region
std::span<const Check> chain_checks();         // broken chains and indices
std::span<const Check> used_checks();          // used ring and notifications
std::span<const Check> event_checks();         // event indices, data in notifications, order
std::span<const Check> indirect_checks();      // indirect tables
std::span<const Check> queue_reset_checks();   // the reset of one queue
std::span<const Check> blk_config_checks();    // a disk's configuration
std::span<const Check> blk_checks();           // a disk's requests, reading only
std::span<const Check> blk_write_checks();     // a disk's requests that write; destructive
std::span<const Check> console_checks();       // a console's queues and configuration
std::span<const Check> rng_checks();           // random numbers
std::span<const Check> net_config_checks();    // a network card's offer and configuration
std::span<const Check> net_checks();           // its control and transmit queues
std::span<const Check> vsock_checks();         // a socket device's offer and configuration
std::span<const Check> vsock_packet_checks();  // what it makes of packets of no connection
std::span<const Check> vsock_credit_checks();  // what it says of credit, and makes of ours
std::span<const Check> confinement_checks();   // what the device asked for in the whole run; last

}  // namespace airlock::driver::conformance
