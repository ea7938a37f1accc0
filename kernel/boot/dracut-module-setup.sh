#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# dracut module: the root disk may be an Airlock disk. The driver is loaded before udev looks for
# disks. A kernel that has no such module gets its initramfs all the same.

check() {
	return 0
}

depends() {
	return 0
}

installkernel() {
	hostonly='' instmods -o virtio_pci_airlock virtio_blk virtio_scsi
}

install() {
	inst_simple /usr/lib/modprobe.d/airlock.conf
	# shellcheck disable=SC2154  # dracut sets it
	inst_hook pre-udev 10 "$moddir/airlock-load.sh"
}
