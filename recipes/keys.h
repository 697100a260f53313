// SPDX-License-Identifier: Apache-2.0
// The key table: for each key its type, range, default and help, and how its text becomes a value of Recipe
// and back. Private to this room; others see KeyInfo.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "recipes/recipe.h"

namespace stint::recipes {

struct Key {
  KeyInfo info;
  std::function<void(Recipe&, std::string_view)> set;  // throws Error: the value and the accepted form
  std::function<std::string(const Recipe&)> get;       // canonical: set(get(r)) changes nothing

  std::string full_name() const { return info.section + "." + info.key; }
};

// In the order of the frozen text; keys of one section stand together.
const std::vector<Key>& keys();

// Throws Error without a position: "unknown key 'x' in [y]; did you mean 'z'?".
const Key& find_key(std::string_view section, std::string_view key);

// Sets one key from its text. Throws as find_key does, or "run.steps: 'x' is no whole number".
void set_entry(std::string_view section, std::string_view key, std::string_view value, Recipe& recipe);

// [recipe] base: read while a file is loaded, never part of a resolved recipe.
inline constexpr char kRecipeSection[] = "recipe";
inline constexpr char kBaseKey[] = "base";

// A recipe's name: [A-Za-z0-9][A-Za-z0-9._-]{0,62}; it travels in Slurm's admin_comment.
bool valid_recipe_name(std::string_view name);

// The rules between keys. Throws Error: "tiny: model.hidden_size 130 …".
void check_rules(const Recipe& recipe);

}  // namespace stint::recipes
