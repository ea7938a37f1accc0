# SPDX-License-Identifier: Apache-2.0
# In the guest: each disk at each point, round after round. Before this: DISKS (serial numbers),
# POINTS (rw:bs:iodepth), ROUNDS, SECONDS_EACH.
coldplug

# The block device with serial number $1.
disk_of() {
  for entry in /sys/block/vd*; do
    [ "$(cat "$entry/serial")" = "$1" ] && basename "$entry" && return
  done
  echo "no disk $1" >&2
  exit 1
}

one_run() {
  disk=$1 point=$2 round=$3
  set -- $(echo "$point" | tr : ' ')
  host mark "begin $disk $point $round"
  fio --name=run --filename="/dev/$(disk_of "$disk")" --direct=1 --ioengine=libaio --rw="$1" --bs="$2" \
    --iodepth="$3" --time_based --runtime="$SECONDS_EACH" --norandommap --randrepeat=0 \
    --output-format=terse --terse-version=3 --output=/tmp/fio || exit
  host mark "end $disk $point $round"
  echo "@@RUN $disk $point $round $(cat /tmp/fio)@@"
}

for disk in $DISKS; do
  for _ in $(seq 100); do
    grep -qs "^$disk$" /sys/block/vd*/serial && break
    usleep 100000
  done
  disk_of "$disk" >/dev/null || exit
done
round=1
while [ "$round" -le "$ROUNDS" ]; do
  for point in $POINTS; do
    for disk in $DISKS; do
      one_run "$disk" "$point" "$round"
    done
    # Another order for the next point.
    set -- $DISKS
    first=$1
    shift
    DISKS="$* $first"
  done
  round=$((round + 1))
done
[ -d /sys/kernel/debug/swiotlb ] || mount -t debugfs none /sys/kernel/debug
echo "@@SWIOTLB $(cat /sys/kernel/debug/swiotlb/io_tlb_used_hiwater)@@"
