#!/usr/bin/env bash
# Installs what Facet builds with. Run again it only checks, in milliseconds and without root.
#
#   sudo scripts/setup.sh
#
# Debian 13 and Ubuntu 25.04 or newer have every package. Debian 12 gets Debian 13's package list at a low priority and
# takes only the libraries below from it. Elsewhere the script names what is needed and looks whether CMake finds it.
# CUDA is not needed; where it is installed the GPU backend can use it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Libraries, with the oldest version that works. On Debian 12 these come from Debian 13.
libraries=(
  libdnnl-dev=3.4 libonnx-dev=1.16 libprotobuf-dev=3.21 protobuf-compiler=3.21 libfmt-dev=10
  libgtest-dev=1.14 libgmock-dev=1.14 libbenchmark-dev=1.8 libcli11-dev=2.4 nlohmann-json3-dev=3.11.3 libonnx-testdata=1.16
)
# Tools, small libraries and data of the system's own release; any version works.
system_packages=(
  g++ cmake ninja-build ccache pkg-config libeigen3-dev libturbojpeg0-dev libjpeg-dev libpng-dev zlib1g-dev
  dataset-fashion-mnist
)
trixie_sources=/etc/apt/sources.list.d/facet-trixie.sources
trixie_preferences=/etc/apt/preferences.d/facet-trixie

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

# missing NAME[=VERSION]...: the names that are not installed, or older than VERSION, one per line.
missing() {
  local wanted name minimum
  declare -A installed=()
  while read -r name status version; do
    if [[ $status == ?i* ]]; then installed[${name%%:*}]=$version; fi
  done < <(dpkg-query -W -f '${Package} ${db:Status-Abbrev} ${Version}\n' "${@%%=*}" 2>/dev/null || true)
  # pkg-config is a name that pkgconf took over; either package installs the command.
  if [[ -z ${installed[pkg-config]:-} ]] && command -v pkg-config >/dev/null; then installed[pkg-config]=any; fi
  for wanted in "$@"; do
    name=${wanted%%=*}
    minimum=${wanted#"$name"}
    minimum=${minimum#=}
    if [[ -z ${installed[$name]:-} ]]; then
      echo "$name"
    elif [[ -n $minimum ]] && ! dpkg --compare-versions "${installed[$name]#*:}" ge "$minimum"; then
      echo "$name"
    fi
  done
}

# The user's own apt sources: everything but the list this script writes.
own_sources() {
  local file
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
    if [[ -r $file && $file != "$trixie_sources" ]]; then echo "$file"; fi
  done
}

# trixie_stanza [ARCHIVES]: the source entry for Debian 13, derived from an entry of one of these addresses.
trixie_stanza() {
  local files
  mapfile -t files < <(own_sources)
  if ((${#files[@]} == 0)); then return 4; fi
  awk -v archives="${1:-}" -f "$root/scripts/trixie_sources.awk" "${files[@]}"
}

# native, bookworm (Debian 12, also after its base-files came from 13) or other.
platform() {
  local ID='' VERSION_ID=''
  # shellcheck source=/dev/null
  if [[ -r /etc/os-release ]]; then source /etc/os-release; fi
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo other
  elif [[ $ID == debian && $VERSION_ID == 12 ]]; then
    echo bookworm
  elif [[ $ID == debian && $VERSION_ID == 13 ]] && trixie_stanza >/dev/null; then
    echo bookworm
  elif [[ $ID == debian ]] && { [[ -z $VERSION_ID ]] || ((${VERSION_ID%%.*} >= 13)); }; then
    echo native
  elif [[ $ID == ubuntu ]] && dpkg --compare-versions "$VERSION_ID" ge 25.04; then
    echo native
  else
    echo other
  fi
}

log=
# quietly WHAT COMMAND...: one progress line; the command's output is shown only when it fails.
quietly() {
  say "$1"
  shift
  if "$@" >"$log" 2>&1; then return 0; fi
  tail -n 25 "$log" >&2
  return 1
}

apt() {
  DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \
    -o Acquire::Retries=3 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@" </dev/null
}

# Mirrors are now and then caught in the middle of an update: ask again before giving up.
refresh() {
  local attempt
  for attempt in 1 2 3; do
    if quietly "reading the package lists" apt -o APT::Update::Error-Mode=any update; then return 0; fi
    if ((attempt < 3)); then sleep $((attempt * 5)); fi
  done
  # One unreachable list of somebody else's is no reason to stop when the packages can be found all the same.
  say "some package lists could not be read; going on with the others"
}

# install_packages WHERE-FROM APT-OPTIONS... -- PACKAGE...
install_packages() {
  local from=$1 options=() lost
  shift
  while [[ $1 != -- ]]; do options+=("$1"); shift; done
  shift
  if (($# == 0)); then return 0; fi
  # Nobody's packages are removed for ours. A library that another one replaces under the name + "t64" is no loss.
  lost=$(apt install --simulate --no-install-recommends "${options[@]}" "$@" 2>/dev/null |
    awk '$1 == "Inst" { new[$2] } $1 == "Remv" { old[$2] } END { for (p in old) if (!((p "t64") in new)) print p }' |
    sort | tr '\n' ' ') || lost=''  # the installation itself says what is wrong
  if [[ -n $lost ]]; then
    fail "installing $* would remove: $lost- nothing was changed. Remove these yourself if you can do without, then run this again."
  fi
  if quietly "installing from $from: $*" apt install -y --no-install-recommends "${options[@]}" "$@"; then return 0; fi
  refresh
  quietly "once more from $from: $*" apt install -y --no-install-recommends "${options[@]}" "$@" ||
    fail "apt could not install: $*. The reason is above; 'apt-get install $*' shows all of it."
}

# Adds Debian 13's list at priority 100, so that nothing is taken from it but what is asked for by name.
# The package lists must have been read: they tell which of the configured archives is Debian itself.
add_trixie() {
  local archives stanza status=0
  # shellcheck disable=SC2016  # apt expands it, not the shell
  archives=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Codename: bookworm' \
    'Component: main' | sort -u | tr '\n' ' ')
  stanza=$(trixie_stanza "$archives") || status=$?
  case $status in
    0) ;;
    3) return 0 ;;  # the user has trixie configured: their list and their priority stand
    *) fail "no 'deb ... bookworm main' entry in /etc/apt to take the mirror from. Add one, or a list of Debian 13's, and run this again." ;;
  esac
  if [[ -r $trixie_preferences && -r $trixie_sources && $(<"$trixie_sources") == "$stanza" ]]; then return 0; fi
  say "adding Debian 13's package list at priority 100 ($trixie_sources)"
  # The pin first: the list must never be seen without it.
  printf 'Package: *\nPin: release n=trixie\nPin-Priority: 100\n' >"$trixie_preferences"
  printf '%s\n' "$stanza" >"$trixie_sources"
  chmod 644 "$trixie_preferences" "$trixie_sources"
  refresh
}

set_up_debian() {
  local where=$1 need_libraries need_system left
  mapfile -t need_libraries < <(missing "${libraries[@]}")
  mapfile -t need_system < <(missing "${system_packages[@]}")
  if ((${#need_libraries[@]} + ${#need_system[@]} == 0)); then return 0; fi
  if ((EUID != 0)); then
    say "these packages are not installed, or too old: ${need_system[*]} ${need_libraries[*]}"
    fail "run this as root, once:  sudo scripts/setup.sh"
  fi
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  if [[ $where == bookworm ]]; then
    refresh
    if ((${#need_libraries[@]})); then add_trixie; fi
    install_packages "Debian 12" -- "${need_system[@]}"
    install_packages "Debian 13" -t trixie -- "${need_libraries[@]}"
  else
    refresh
    install_packages "the system's release" -- "${need_system[@]}" "${need_libraries[@]}"
  fi
  left=$(missing "${libraries[@]}" "${system_packages[@]}" | tr '\n' ' ')
  if [[ -n $left ]]; then
    fail "installed, but still too old: $left- the apt preferences of this machine hold older versions; 'apt-cache policy $left' shows which."
  fi
  say "done"
}

# Another system: CMake decides whether all is there. Only asked until a build is configured.
probe=
set_up_other() {
  local generator=()
  if [[ -e $root/build/CMakeCache.txt ]]; then return 0; fi
  probe=$(mktemp -d)
  trap 'rm -rf "$probe"' EXIT
  cat >"$probe/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.25)
project(probe LANGUAGES CXX)
foreach(package dnnl ONNX Protobuf fmt GTest benchmark CLI11 nlohmann_json Eigen3 PNG JPEG libjpeg-turbo ZLIB OpenMP)
  find_package(${package} REQUIRED)
endforeach()
CMAKE
  if command -v ninja >/dev/null; then generator=(-G Ninja); fi
  if cmake -S "$probe" -B "$probe/build" "${generator[@]}" >"$probe/log" 2>&1; then return 0; fi
  if [[ -s $probe/log ]]; then grep -A 3 'CMake Error' "$probe/log" >&2 || true; fi
  say "this system is not Debian 12, Debian 13 or Ubuntu 25.04 or newer, so nothing is installed by itself. Needed:"
  say "  a C++20 compiler, CMake 3.25, Ninja (optional), ccache (optional)"
  say "  oneDNN 3.4, ONNX 1.16, Protobuf 3.21, fmt 10, GoogleTest 1.14 with GoogleMock, Benchmark 1.8,"
  say "  CLI11 2.4, nlohmann-json 3.11, Eigen 3.4, libjpeg-turbo with TurboJPEG, libpng, zlib - with their CMake packages (CMAKE_PREFIX_PATH says where they are)"
  fail "as Debian names them: ${system_packages[*]} ${libraries[*]%%=*}"
}

where=$(platform)
if [[ $where == other ]]; then set_up_other; else set_up_debian "$where"; fi
