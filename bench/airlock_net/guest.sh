# SPDX-License-Identifier: Apache-2.0
# In the guest: each card in both directions, round after round. Before this: CARDS (name=MAC=subnet),
# WAYS, PAGE and SINK (ports of the host), MIB, ROUNDS.
coldplug
modprobe virtio_net
ip link set lo up
dd if=/dev/urandom of=/tmp/page bs=1M count="$MIB" 2>/dev/null

# The interface with the address $1.
interface_of() {
  for entry in /sys/class/net/eth*; do
    [ "$(cat "$entry/address")" = "$1" ] && basename "$entry" && return
  done
  return 1
}

for card in $CARDS; do
  set -- $(echo "$card" | tr = ' ')
  for _ in $(seq 100); do
    interface_of "$2" >/dev/null && break
    usleep 100000
  done
  interface=$(interface_of "$2") || exit
  ip address add "$3.2/24" dev "$interface"
  ip link set "$interface" up
done

one_run() {
  way=$1 name=$2 host=$3.1
  begin=$(cut -d' ' -f1 /proc/uptime)
  case $way in
    download) wget -q -O /dev/null "http://$host:$PAGE/" ;;
    upload) [ "$(nc "$host" "$SINK" </tmp/page)" = $((MIB << 20)) ] ;;
  esac || exit
  echo "@@RUN $name $way $begin $(cut -d' ' -f1 /proc/uptime)@@"
}

round=1
while [ "$round" -le "$ROUNDS" ]; do
  for way in $WAYS; do
    for card in $CARDS; do
      set -- $(echo "$card" | tr = ' ')
      one_run "$way" "$1" "$3"
    done
    # Another order for the next way.
    set -- $CARDS
    first=$1
    shift
    CARDS="$* $first"
  done
  round=$((round + 1))
done
