# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Shared by the lab's scripts that get Debian packages: mirrors, sources, how steps are logged.
# lib.sh comes first; LOG is the file where quietly() puts what its commands say.

KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf 'lab: %s\n' "$*"; }

# quietly WHAT WHAT_TO_DO COMMAND...: runs COMMAND with its output in the log; if it fails, shows
# the end of that output and one line saying what and what to do.
quietly() {
  local what=$1 todo=$2 begin
  shift 2
  begin=$(wc -l <"$LOG")
  if ! "$@" >>"$LOG" 2>&1 </dev/null; then
    tail -n "+$((begin + 1))" "$LOG" | tail -n 12 | sed 's/^/  | /' >&2
    die "$what" "failed, the log is $LOG" "$todo"
  fi
}

# host_mirror LABEL: the address from which this machine itself gets that archive, if it does.
host_mirror() {
  # shellcheck disable=SC2016  # apt-get expands it
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' \
    "Label: $1" 2>/dev/null | sed -n '1s|/*$||p'
}

find_mirrors() {
  [ -z "${MIRROR-}" ] || return 0
  MIRROR=${AIRLOCK_MIRROR:-$(host_mirror Debian)}
  MIRROR=${MIRROR:-http://deb.debian.org/debian}
  SECURITY=${AIRLOCK_SECURITY_MIRROR:-$(host_mirror Debian-Security)}
  SECURITY=${SECURITY:-http://deb.debian.org/debian-security}
}

# sources SUITE SIGNED_BY: the lines of a sources.list for that suite and its updates.
sources() {
  local option="[signed-by=$2]" base=${1%-backports}
  printf 'deb %s %s %s main\n' "$option" "$MIRROR" "$base"
  [ "$base" = "$1" ] || printf 'deb %s %s %s main\n' "$option" "$MIRROR" "$1"
  [ "$SECURITY" = none ] || printf 'deb %s %s %s-security main\n' "$option" "$SECURITY" "$base"
}

# How this machine reaches the archive (proxies, retries, date checks) holds in the lab as well.
host_apt_options() {
  apt-config dump | grep -E '^Acquire::(Check-|Retries|Max-|ForceIPv|https?)[^ ]* ' || true
}

# lab_apt SUITE TOOL ARGUMENT...: apt with lists, cache and sources of its own under build/lab.
lab_apt() {
  local suite=$1 tool=$2
  shift 2
  APT_CONFIG=$LAB/apt/$suite/apt.conf "$tool" "$@"
}

# update_lab_apt SUITE [ARCHITECTURE]: its package lists; of another architecture than amd64 in
# apt/SUITE-ARCHITECTURE.
update_lab_apt() {
  local architecture=${2:-amd64}
  local folder=$LAB/apt/$1${2:+-$2}
  find_mirrors
  mkdir -p "$folder"/{lists/partial,cache/archives/partial,etc}
  sources "$1" "$KEYRING" >"$folder/etc/sources.list"
  : >"$folder/status"
  cat >"$folder/apt.conf" <<EOF
Dir::State "$folder";
Dir::State::status "$folder/status";
Dir::Cache "$folder/cache";
Dir::Etc::sourcelist "$folder/etc/sources.list";
Dir::Etc::sourceparts "-";
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
EOF
  quietly "apt-get update ($1)" 'check the network, or set AIRLOCK_MIRROR' \
    lab_apt "$1${2:+-$2}" apt-get update --quiet --error-on=any
}
