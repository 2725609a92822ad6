#!/usr/bin/env bash
# What programs and shared libraries need of the machine they run on. glibc's own libraries and NVIDIA's (CUDA, cuDNN,
# the driver) never count: the one has to be the machine's, the others are found where they are installed.
#
#   scripts/shared_libraries.sh needed FILE...         the shared libraries they load, with those of these, one path a line
#   scripts/shared_libraries.sh outside FOLDER FILE... those that are not in FOLDER when it is looked in first, "FILE LIBRARY"
#   scripts/shared_libraries.sh glibc FILE...          the newest version of glibc that they name: "2.38 FILE"
#
# A library that is found nowhere is an error of `needed`, and a line of `outside`.
set -euo pipefail

fail() { printf 'shared_libraries: %s\n' "$*" >&2; exit 1; }

the_machines='^(linux-vdso|ld-linux.*|lib(c|m|mvec|dl|pthread|rt|resolv|util|anl|nsl))\.so'
nvidias='^lib(cuda|cudart|cudnn[a-z_]*|cublas(Lt)?|cufft|cupti|nv[A-Za-z0-9_.-]+|nccl)\.so'

# loaded FILE: "NAME PATH" of each library that counts, PATH empty where there is none.
loaded() {
  local lines
  lines=$(ldd "$1") || fail "$1 is no program or shared library of this machine"
  awk -v skip="$the_machines|$nvidias" '
    $1 ~ /^\// { n = split($1, part, "/"); $0 = part[n] " => " $1 }
    $1 !~ skip && $2 == "=>" { print $1, $3 == "not" ? "" : $3 }' <<<"$lines"
}

needed() {
  local file lines name path
  for file in "$@"; do
    lines=$(loaded "$file")
    while read -r name path; do
      if [[ -z $name ]]; then continue; fi
      [[ -n $path ]] || fail "$file needs $name, which is not installed"
      printf '%s\n' "$path"
    done <<<"$lines"
  done | sort -u
}

outside() {
  local folder file lines name path
  folder=$(cd "$1" && pwd -P)
  shift
  for file in "$@"; do
    lines=$(LD_LIBRARY_PATH=$folder loaded "$file")
    while read -r name path; do
      if [[ -z $name ]]; then continue; fi
      if [[ -z $path || $(cd "$(dirname "$path")" && pwd -P) != "$folder" ]]; then printf '%s %s\n' "$file" "$name"; fi
    done <<<"$lines"
  done
}

glibc() {
  local file version
  for file in "$@"; do
    version=$(objdump -T "$file" | { grep -o 'GLIBC_[0-9][0-9.]*' || true; } | sort -Vu | tail -n 1)
    if [[ -n $version ]]; then printf '%s %s\n' "${version#GLIBC_}" "$file"; fi
  done | sort -V | tail -n 1
}

case ${1:-} in
  needed | outside | glibc) "$@" ;;
  *)
    sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
