# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Shared by the lab's shell scripts: where things are, how errors read, the kernel table.

LAB_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LAB_PROJECT=$(dirname "$LAB_SOURCE")
LAB=${AIRLOCK_LAB:-$LAB_PROJECT/build/lab}
LAB_TRIXIE=$LAB/trixie

# die WHAT WHY WHAT_TO_DO: one line on stderr, exit status 1.
die() {
  printf 'lab: %s: %s: %s\n' "$1" "$2" "$3" >&2
  exit 1
}

# usage_error WHY PROGRAM: one line on stderr, exit status 2.
usage_error() {
  printf 'lab: usage: %s: see %s --help\n' "$1" "$2" >&2
  exit 2
}

# kernel_row VERSION: prints "SUITE COMPILER" of that line of kernels.conf, or fails.
kernel_row() {
  awk -v want="$1" '!/^#/ && $1 == want { print $2, $3; found = 1 } END { exit !found }' \
    "$LAB_SOURCE/kernels.conf"
}

kernel_versions() {
  awk '!/^#/ && NF { printf "%s%s", sep, $1; sep = " " }' "$LAB_SOURCE/kernels.conf"
}

# trixie_chroot [--bind SOURCE TARGET]... COMMAND...: runs COMMAND as root inside the lab's
# Debian 13, in a mount namespace of its own, so that nothing stays mounted under build/ whatever
# happens. TARGET is a path inside that Debian.
trixie_chroot() {
  # shellcheck disable=SC2016  # the inner shell expands these
  unshare --mount --fork --kill-child bash -ec '
    root=$1
    shift
    mount -t proc proc "$root/proc"
    [ -e /dev/null ] && mount --rbind /dev "$root/dev"
    while [ "$1" = --bind ]; do
      mkdir -p "$root$3"
      mount --bind "$2" "$root$3"
      shift 3
    done
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
      DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"
  ' trixie_chroot "$LAB_TRIXIE" "$@"
}
