#!/usr/bin/env bash
# scripts/trixie_sources.awk on apt source files of every form.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
etc=$(mktemp -d)
trap 'rm -rf "$etc"' EXIT
failures=0

# expect WHAT STATUS STANZA FILE...
expect() {
  local what=$1 want_status=$2 want=$3 output status=0
  output=$(awk -v archives="${archives:-}" -f "$here/../../scripts/trixie_sources.awk" "${@:4}") || status=$?
  if [[ $status != "$want_status" || $output != "$want" ]]; then
    printf 'FAIL: %s: exit code %s (expected %s) and\n%s\nexpected\n%s\n' "$what" "$status" "$want_status" "$output" "$want"
    failures=$((failures + 1))
  fi
}

stanza() { printf 'Types: deb\nURIs: %s\nSuites: trixie\nComponents: main' "$1"; }

cat >"$etc/debian.sources" <<'APT'
# The archive.
Types: deb deb-src
# a snapshot of it: http://snapshot.example/debian
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/archive.gpg

Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main
APT
expect "deb822" 0 "$(stanza http://mirror.example/debian)"$'\nSigned-By: /usr/share/keyrings/archive.gpg' "$etc/debian.sources"

cat >"$etc/inline.sources" <<'APT'
Types: deb
URIs:
 http://one.example/debian
 http://two.example/debian
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----
APT
expect "deb822 with continued fields and an inline key" 0 \
  "$(stanza ' http://one.example/debian http://two.example/debian')"$'\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END PGP PUBLIC KEY BLOCK-----' \
  "$etc/inline.sources"

printf '%s\n' '# deb http://off.example/debian bookworm main' 'deb-src http://src.example/debian bookworm main' \
  'deb http://mirror.example/debian bookworm main contrib # the archive' >"$etc/sources.list"
expect "one line, no options" 0 "$(stanza http://mirror.example/debian)" "$etc/sources.list"

printf '%s\n' 'deb [ arch=amd64,arm64 signed-by=/a.gpg ] http://mirror.example/debian bookworm main' >"$etc/options.list"
expect "one line with options" 0 \
  "$(stanza http://mirror.example/debian)"$'\nArchitectures: amd64 arm64\nSigned-By: /a.gpg' "$etc/options.list"

sed 's/^Types: deb deb-src$/&\nEnabled: no/' "$etc/debian.sources" >"$etc/disabled.sources"
expect "a disabled entry does not count" 4 '' "$etc/disabled.sources"
expect "the second file serves where the first does not" 0 "$(stanza http://mirror.example/debian)" \
  "$etc/disabled.sources" "$etc/sources.list"

printf '%s\n' 'deb http://tools.example/apt bookworm stable' >"$etc/tools.list"
expect "somebody's own archive without main" 4 '' "$etc/tools.list"

printf '%s\n' 'deb http://tools.example/apt/ bookworm main' >"$etc/a-tools.list"
archives='http://other.example/debian/ http://mirror.example/debian/' \
  expect "somebody's own archive, named like Debian's" 0 "$(stanza http://mirror.example/debian)" \
  "$etc/a-tools.list" "$etc/sources.list"

printf '%s\n' 'deb http://mirror.example/debian trixie main' >"$etc/trixie.list"
expect "trixie is configured already" 3 '' "$etc/sources.list" "$etc/trixie.list"

echo "trixie_sources: $failures failures"
((failures == 0))
