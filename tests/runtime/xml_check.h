#pragma once

#include <cctype>
#include <set>
#include <string>
#include <vector>

namespace facet::test {

/// What is wrong with a document as XML: empty if it is well-formed (elements nest, attributes are
/// quoted and unique, only known entities, one root).
inline std::string xml_error(const std::string& text) {
  std::vector<std::string> open;
  std::size_t at = 0;
  int roots = 0;
  const auto bad_text = [](const std::string& piece) {
    for (std::size_t i = 0; i < piece.size(); ++i) {
      if (piece[i] == '<' || (static_cast<unsigned char>(piece[i]) < 0x20 && piece[i] != '\n')) return true;
      if (piece[i] != '&') continue;
      const std::string entity = piece.substr(i, piece.find(';', i) - i + 1);
      const std::set<std::string> known = {"&amp;", "&lt;", "&gt;", "&quot;"};
      if (!known.contains(entity)) return true;
    }
    return false;
  };
  while (at < text.size()) {
    const std::size_t tag = text.find('<', at);
    if (bad_text(text.substr(at, tag - at))) return "bad text at " + std::to_string(at);
    if (tag == std::string::npos) break;
    const std::size_t end = text.find('>', tag);
    if (end == std::string::npos) return "open tag at " + std::to_string(tag);
    std::string body = text.substr(tag + 1, end - tag - 1);
    at = end + 1;
    if (body.starts_with("?xml") || body == "!DOCTYPE html") continue;
    if (body.starts_with("/")) {
      if (open.empty() || open.back() != body.substr(1)) return "unexpected </" + body.substr(1) + ">";
      open.pop_back();
      continue;
    }
    const bool closed = body.ends_with("/");
    if (closed) body.pop_back();
    std::size_t i = 0;
    while (i < body.size() && std::isspace(static_cast<unsigned char>(body[i])) == 0) ++i;
    const std::string name = body.substr(0, i);
    std::set<std::string> attributes;
    while ((i = body.find_first_not_of(" \n", i)) != std::string::npos) {
      const std::size_t equals = body.find("=\"", i);
      if (equals == std::string::npos) return "attribute without value in <" + body;
      const std::size_t quote = body.find('"', equals + 2);
      if (quote == std::string::npos) return "open quote in <" + body;
      if (!attributes.insert(body.substr(i, equals - i)).second) return "double attribute in <" + body;
      if (bad_text(body.substr(equals + 2, quote - equals - 2))) return "bad attribute in <" + body;
      i = quote + 1;
    }
    if (open.empty() && ++roots > 1) return "two roots";
    if (!closed) open.push_back(name);
  }
  return open.empty() ? "" : "open element " + open.back();
}

inline std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace facet::test
