# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
# What a cell of lab/matrix does in the guest. The variables that are in capitals and not set here
# come first, from lab/airlock_lab/cell_run.py. @@STEP ...@@ says how far it came.

DISK=0000:00:10.0
TREE_SUMS=/lab/tree.sums
POOL=/sys/kernel/debug/virtio_pci_airlock/$DISK

step() { echo "@@STEP $* at $(cut -d' ' -f1 /proc/uptime) s@@"; }
fail() {
  echo "cell: $*"
  exit 1
}
driver_of() { basename "$(readlink "/sys/bus/pci/devices/$1/driver")"; }

# The stock transport has its own devices, and ours has the one with a region.
check_drivers() {
  step drivers
  coldplug
  for device in 04 05 06; do
    test "$(driver_of 0000:00:$device.0)" = virtio-pci || fail "not virtio-pci at $device.0"
  done
  test "$(nproc)" = "$CPUS" || fail "$(nproc) CPUs"
  wait-for /dev/vda
  test "$(driver_of $DISK)" = virtio_pci_airlock || fail 'the disk is not ours'
}

# What was asked for is what was agreed upon.
check_negotiation() {
  step negotiation
  test "$(ls "${POOL%/*}")" = $DISK || fail 'other devices have a pool'
  bits=$(cat /sys/block/vda/device/features)
  test "$(echo "$bits" | cut -c35)" = "$PACKED" || fail "features $bits"
  dmesg | grep "airlock: $REGION_KIB KiB region .*, $MODE," || fail 'another region or mode'
}

raw_fio() {
  fio --name="$1-$2" --filename=/dev/vda --direct=1 --ioengine=libaio --rw=randwrite --bs="$1" \
    --iodepth="$2" --size="$3" --verify=crc32c --verify_fatal=1 --do_verify=1 --minimal >/tmp/fio ||
    { cat /tmp/fio; fail "fio $*"; }
}

check_disk() {
  step fio under audit
  raw_fio 4k 32 8M &
  host audit || fail 'the audit'
  wait $! || exit 1
  step fio
  raw_fio 16k 1 2M
  raw_fio 64k 8 16M
  raw_fio 1M 4 16M
}

# check_tree FILESYSTEM MKFS_ARGUMENT...: a tree goes there, comes back, is changed, comes back.
check_tree() {
  filesystem=$1
  shift
  step "$filesystem"
  "mkfs.$filesystem" -q "$@" /dev/vda
  mount -t "$filesystem" /dev/vda /mnt
  tar -xf /lab/tree.tar -C /mnt
  umount /mnt
  mount -t "$filesystem" /dev/vda /mnt
  (cd /mnt/tree && sha256sum -c $TREE_SUMS >/tmp/sums) || fail "$(grep -v ': OK' /tmp/sums)"
  cp -a /mnt/tree/0 /mnt/copy
  rm -r /mnt/tree/0
  mv /mnt/copy /mnt/tree/0
  umount /mnt
  echo 3 >/proc/sys/vm/drop_caches
  mount -t "$filesystem" /dev/vda /mnt
  (cd /mnt/tree && sha256sum -c $TREE_SUMS >/tmp/sums) || fail "$(grep -v ': OK' /tmp/sums)"
  umount /mnt
  host fsck "$filesystem" || fail "$filesystem is not clean"
}

check_net() {
  step net
  interface=$(ls /sys/bus/pci/devices/0000:00:04.0/virtio*/net)
  ip addr add 10.0.2.15/24 dev "$interface"
  ip link set "$interface" up
  wget -q -O /tmp/down "http://10.0.2.2:$PORT/"
  test "$(sha256sum </tmp/down)" = "$DOWN_SUM  -" || fail 'another file came down'
  # (busybox wget posts no zeros.)
  {
    printf 'POST / HTTP/1.0\r\nContent-Length: %s\r\n\r\n' "$(stat -c %s /lab/tree.tar)"
    cat /lab/tree.tar
  } | nc 10.0.2.2 "$PORT" >/tmp/answer
  test "$(tail -n 1 /tmp/answer)" = "$UP_SUM" || fail 'another file went up'
}

check_console() {
  step console
  port=/dev/$(basename "$(dirname "$(grep -l airlock.lab /sys/class/virtio-ports/*/name)")")
  exec 4<>"$port"
  echo 'are you there' >&4
  read -r line <&4
  exec 4>&-
  test "$line" = 'ereht uoy era' || fail "$line"
}

check_rng() {
  step rng
  grep -q '^virtio_rng' /sys/class/misc/hw_random/rng_current || fail 'another rng'
  first=$(dd if=/dev/hwrng bs=64 count=1 iflag=fullblock 2>/dev/null | sha256sum)
  second=$(dd if=/dev/hwrng bs=64 count=1 iflag=fullblock 2>/dev/null | sha256sum)
  test "$first" != "$second" || fail 'the same numbers twice'
}

# Everything that was mapped is unmapped, and the module goes.
check_unload() {
  step unload
  test "$(cat "$POOL/refused")" = 0 || fail 'the pool refused something'
  # Over packed rings all that is in flight fits.
  test "$PACKED" = 0 || test "$(cat "$POOL/exhausted")" = 0 || fail 'the pool was too small'
  rmmod virtio_pci_airlock
  test ! -e /dev/vda || fail 'the disk is still there'
}

# Neither an error of anybody's, nor a warning with a trace, nor one of ours but those expected.
check_log() {
  step log
  dmesg -r >/tmp/log
  grep -E '^<([0-3]|4>.* airlock: )|WARNING:|BUG|Call Trace|Oops|slots still in use' /tmp/log |
    grep -vE "$EXPECTED" >/tmp/bad || return 0
  cat /tmp/bad
  fail 'the kernel log'
}

check_drivers
check_negotiation
check_disk
check_tree ext4 -F
check_tree xfs -f
check_net
check_console
check_rng
check_unload
check_log
step end
