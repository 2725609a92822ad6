# Writes the apt source stanza for Debian 13 (trixie), with the mirror, key and options the machine already uses for
# Debian 12 (bookworm). Reads apt source files of both forms (*.sources in deb822, *.list one per line) as arguments.
# With -v archives="URI..." only entries of these addresses count: other archives have a suite "bookworm main" too.
#
# Exit code: 0 the stanza is on stdout; 3 trixie is configured already; 4 no usable bookworm entry was found.

function has_word(list, word) { return (" " list " ") ~ ("[ \t]" word "[ \t]") }

function is_archive(uris,    list, words, count, i) {
  if (archives == "") return 1
  list = archives
  gsub(/\/( |$)/, " ", list)
  count = split(uris, words, " ")
  for (i = 1; i <= count; ++i) {
    sub(/\/$/, "", words[i])
    if (index(" " list " ", " " words[i] " ")) return 1
  }
  return 0
}

# One entry of either form: remember the first one that serves bookworm's main packages.
function entry(types, uris, suites, components, enabled, options) {
  if (!has_word(types, "deb") || enabled ~ /^(no|false|0|off|without|disable)$/) return
  if (has_word(suites, "trixie")) trixie_seen = 1
  if (!has_word(components, "main")) return
  if (uris == "" || (!has_word(suites, "bookworm") && !has_word(suites, "oldstable"))) return
  if (stanza != "" || !is_archive(uris)) return
  stanza = "Types: deb\nURIs: " uris "\nSuites: trixie\nComponents: main\n" options
}

function end_stanza() {
  if (types != "") entry(types, uris, suites, components, enabled, options)
  types = uris = suites = components = enabled = options = field = ""
}

# "signed-by=/a.gpg,/b.gpg" of the one-line form, as "Signed-By: /a.gpg /b.gpg" of deb822.
function deb822_option(text,    name, value, words, count, i, out) {
  name = tolower(substr(text, 1, index(text, "=") - 1))
  value = substr(text, index(text, "=") + 1)
  gsub(/,/, " ", value)
  if (name == "arch") name = "architectures"
  if (name == "lang") name = "languages"
  if (name == "target") name = "targets"
  count = split(name, words, "-")
  for (i = 1; i <= count; ++i)
    out = out (i > 1 ? "-" : "") toupper(substr(words[i], 1, 1)) substr(words[i], 2)
  return out ": " value "\n"
}

FNR == 1 { end_stanza() }
{ sub(/\r$/, "") }

FILENAME ~ /\.list$/ {
  sub(/#.*/, "")
  line = $0
  if (line !~ /^[ \t]*deb[ \t]/) next
  sub(/^[ \t]*deb[ \t]+/, "", line)
  line_options = ""
  if (line ~ /^\[/) {
    close_at = index(line, "]")
    count = split(substr(line, 2, close_at - 2), words, /[ \t]+/)
    for (i = 1; i <= count; ++i)
      if (words[i] ~ /=/) line_options = line_options deb822_option(words[i])
    line = substr(line, close_at + 1)
  }
  count = split(line, words, " ")
  components_of_line = ""
  for (i = 3; i <= count; ++i) components_of_line = components_of_line " " words[i]
  entry("deb", words[1], words[2], components_of_line, "yes", line_options)
  next
}

/^#/ { next }
/^[ \t]*$/ { end_stanza(); next }
/^[ \t]/ {  # the continuation of a field: a long list, or an inline key
  value = $0
  sub(/^[ \t]+/, " ", value)
  if (field == "types") types = types value
  else if (field == "uris") uris = uris value
  else if (field == "suites") suites = suites value
  else if (field == "components") components = components value
  else if (field == "other") options = options $0 "\n"
  next
}
{
  colon = index($0, ":")
  if (colon == 0) next
  name = tolower(substr($0, 1, colon - 1))
  value = substr($0, colon + 1)
  gsub(/^[ \t]+|[ \t]+$/, "", value)
  field = name
  if (name == "types") types = value
  else if (name == "uris") uris = value
  else if (name == "suites") suites = value
  else if (name == "components") components = value
  else if (name == "enabled") enabled = tolower(value)
  else { field = "other"; options = options $0 "\n" }
}

END {
  end_stanza()
  if (trixie_seen) exit 3
  if (stanza == "") exit 4
  printf "%s", stanza
}
