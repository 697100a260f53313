// SPDX-License-Identifier: Apache-2.0
#include "recipes/keys.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/ini.h"

namespace stint::recipes {
namespace {

std::string suggestion(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string close = did_you_mean(word, candidates);
  return close.empty() ? std::string() : fmt::format("; did you mean '{}'?", close);
}

// A key of that name in another section, for people who remember the key but not its place.
std::string other_section(std::string_view key) {
  for (const Key& candidate : keys()) {
    if (candidate.info.key == key) return fmt::format("; it belongs into [{}]", candidate.info.section);
  }
  return {};
}

}  // namespace

const std::vector<KeyInfo>& key_table() {
  static const std::vector<KeyInfo> kTable = [] {
    std::vector<KeyInfo> rows;
    for (const Key& key : keys()) rows.push_back(key.info);
    return rows;
  }();
  return kTable;
}

const Key& find_key(std::string_view section, std::string_view key) {
  std::vector<std::string> sections, siblings;
  for (const Key& candidate : keys()) {
    if (candidate.info.section == section && candidate.info.key == key) return candidate;
    if (sections.empty() || sections.back() != candidate.info.section)
      sections.push_back(candidate.info.section);
    if (candidate.info.section == section) siblings.push_back(candidate.info.key);
  }
  if (siblings.empty()) fail("unknown section [{}]{}", section.substr(0, 60), suggestion(section, sections));
  std::string hint = suggestion(key, siblings);
  if (hint.empty()) hint = other_section(key);
  fail("unknown key '{}' in [{}]{}", key.substr(0, 60), section, hint);
}

void set_entry(std::string_view section, std::string_view key, std::string_view value, Recipe& recipe) {
  const Key& found = find_key(section, key);
  try {
    found.set(recipe, value);
  } catch (const Error& error) {
    fail("{}: {}", found.full_name(), error.what());
  }
}

bool valid_recipe_name(std::string_view name) {
  const auto alphanumeric = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  return !name.empty() && name.size() <= 63 && alphanumeric(name.front()) &&
         std::all_of(name.begin(), name.end(),
                     [&](char c) { return alphanumeric(c) || c == '.' || c == '_' || c == '-'; });
}

}  // namespace stint::recipes
