#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# To boot without the module: module_blacklist=virtio_pci_airlock on the kernel's command line.
modprobe -q virtio_pci_airlock || true
