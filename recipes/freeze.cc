// SPDX-License-Identifier: Apache-2.0
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/contract.h"
#include "base/error.h"
#include "base/ini.h"
#include "recipes/keys.h"

namespace stint::recipes {

std::string freeze(const Recipe& recipe) {
  std::string text;
  std::string section;
  for (const Key& key : keys()) {
    if (key.info.section != section) {
      section = key.info.section;
      text += fmt::format("{}[{}]\n", text.empty() ? "" : "\n", section);
    }
    const std::string value = key.get(recipe);
    if (const std::string reason = ini_value_problem(value); !reason.empty()) {
      fail("{}: {}: {}", recipe.name, key.full_name(), reason);
    }
    text += fmt::format("{} ={}{}\n", key.info.key, value.empty() ? "" : " ", value);
  }
  return text;
}

Recipe parse_frozen(std::string_view text, std::string name) {
  if (text.size() > contract::kMaxRecipeBytes) {
    fail("{}: larger than the {} bytes of a frozen recipe", name, contract::kMaxRecipeBytes);
  }
  const IniFile file = IniFile::parse(text, std::move(name));
  Recipe recipe;
  for (const IniEntry& entry : file.entries()) {
    try {
      set_entry(entry.section, entry.key, entry.value, recipe);
    } catch (const Error& error) {
      fail("{}{}", file.where(entry), error.what());
    }
  }
  for (const Key& key : keys()) {
    if (!file.find(key.info.section, key.info.key)) {
      fail("{}: lacks '{}' in [{}]; a frozen recipe holds every key", file.name(), key.info.key,
           key.info.section);
    }
  }
  check_rules(recipe);
  return recipe;
}

std::string hash(std::string_view frozen) {
  return fmt::format("{:08x}", static_cast<std::uint32_t>(XXH3_64bits(frozen.data(), frozen.size())));
}

}  // namespace stint::recipes
