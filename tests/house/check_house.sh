#!/usr/bin/env bash
# The rules every file of the house keeps.
#
#   check_house.sh RULE [ROOT]
#
#   includes   folders include only the folders below them; each outside library has its place
#   length     no source is longer than 500 lines
#   words      no machine's absolute paths, no package hosts, no notes of unfinished work
#   scripts    every shell script parses
#
# ROOT is the repository (default: this one): its tracked files, or all files where there is no git. Each offence is one
# line FILE:LINE: what is wrong. Exit code 1 if there is one, 2 for a wrong call.
set -euo pipefail
rule=${1:-}
cd "${2:-$(dirname "${BASH_SOURCE[0]}")/../..}"

list_files() {
  if [[ -e .git ]] && git ls-files -z 2>/dev/null; then return 0; fi
  find . -type d \( -name .git -o -path './build*' -o -path ./out -o -path ./shared \) -prune -o -type f -printf '%P\0'
}

files=()
while IFS= read -r -d '' file; do
  # Tracked but deleted, or a link out of the tree: nothing to read.
  if [[ -f $file && ! -L $file ]]; then files+=("$file"); fi
done < <(list_files)

# select_files REGEX: the files whose path matches, NUL-separated.
select_files() {
  local file
  for file in ${files[@]+"${files[@]}"}; do
    if [[ $file =~ $1 ]]; then printf '%s\0' "$file"; fi
  done
}

# shellcheck disable=SC2016  # the program is awk's
check_includes() {
  select_files '\.(h|cpp|cu|cuh|inc)$' | xargs -0 -r awk '
    BEGIN {
      allowed["ir"] = "ir"
      allowed["passes"] = "passes ir"
      allowed["backends"] = "backends ir passes"
      allowed["runtime"] = "runtime ir passes backends"
      allowed["training"] = "training ir passes runtime"
      allowed["zoo"] = "zoo ir"
      allowed["cli"] = "cli ir passes backends runtime training zoo"
      allowed["tests"] = "tests bench cli ir passes backends runtime training zoo"
      allowed["bench"] = allowed["tests"]
      # Libraries that stay in their place: a pattern of the header, and one of the paths that may include it.
      place["^(oneapi/)?dnnl"] = "^backends/cpu/"
      place["^(unsupported/)?Eigen/"] = "^backends/reference/"
      place["^(png|turbojpeg|jpeglib)\\.h$|^nlohmann/"] = "^(runtime|cli|tests|bench)/"
      place["^(google/protobuf|onnx)/"] = "^runtime/formats/onnx"
      place["^(cuda|cudnn|cublas|nvrtc)[A-Za-z0-9_]*\\.h$"] = "^backends/cuda/"
      place["^CLI/"] = "^(cli|training|tests)/"
    }
    function offence(text) { printf "%s:%d: %s\n", FILENAME, FNR, text; bad = 1 }
    !/^[ \t]*#[ \t]*include[ \t]*[<"]/ { next }
    {
      quoted = ($0 ~ /^[ \t]*#[ \t]*include[ \t]*"/)
      header = $0
      sub(/^[^<"]*[<"]/, "", header)
      sub(/[>"].*$/, "", header)
      folder = FILENAME
      sub(/\/.*$/, "", folder)
      for (pattern in place)
        if (header ~ pattern && FILENAME !~ place[pattern])
          offence(header " belongs only in " place[pattern])
      if (!(folder in allowed)) next
      top = header
      sub(/\/.*$/, "", top)
      if (!quoted) {
        if (top in allowed && header ~ /\//) offence("write \"" header "\" with quotes: it is ours")
        if (folder ~ /^(ir|passes|zoo)$/ && header !~ /^[a-z_0-9]+$/ && header !~ /^fmt\//)
          offence(folder " uses the standard library and fmt only, not " header)
      } else if (header !~ /\// || header ~ /^\./ || !(top in allowed)) {
        offence("\"" header "\" is not a path from the root of the repository")
      } else if ((" " allowed[folder] " ") !~ (" " top " ")) {
        offence(folder " may not include " header " (allowed: " allowed[folder] ")")
      }
    }
    END { exit bad }'
}

check_length() {
  select_files '\.(h|cpp|cu|cuh|inc|sh|awk|cmake)$|(^|/)CMakeLists\.txt$' | xargs -0 -r awk '
    FNR == 501 { printf "%s:501: longer than 500 lines: it has two subjects, split it\n", FILENAME; bad = 1 }
    END { exit bad }'
}

# The words are written in pieces, so that this file does not contain them.
check_words() {
  local start='(^|[^[:alnum:]_.~-])' dirs hosts notes found
  dirs="$start/(wo""rk|tm""p|ho""me|ro""ot|Us""ers)/|\.\./sha""red"
  hosts="[[:alnum:]]\.(debi""an|ubun""tu)\.(org|com)|(py""pi|pythonho""sted|anacon""da|npm""js|gol""ang)\.(org|com)"
  hosts="$hosts|(crat""es|ghc""r|qua""y|dock""er)\.io|pk""g\.dev|download\.nvid""ia\.com"
  notes="\b(TO""DO|FIX""ME|XX""X)\b"
  found=$(select_files . | xargs -0 -r grep -HnIE "$dirs|$hosts|$notes") || true
  if [[ -n $found ]]; then
    printf '%s\n' "$found"
    return 1
  fi
}

check_scripts() {
  local file first bad=0
  for file in ${files[@]+"${files[@]}"}; do
    IFS= read -r first <"$file" 2>/dev/null || true
    if [[ $file == *.sh || ${first:-} =~ ^'#!'.*(bash|/sh) ]]; then
      bash -n "$file" || bad=1
    fi
  done
  return $bad
}

case $rule in
  includes | length | words | scripts) ;;
  *)
    sed -n '4,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
if ! "check_$rule"; then
  echo "house: the rule '$rule' is broken in the lines above" >&2
  exit 1
fi
