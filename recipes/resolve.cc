// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/contract.h"
#include "base/error.h"
#include "base/ini.h"
#include "base/text.h"
#include "recipes/keys.h"
#include "recipes/recipe.h"

namespace stint::recipes {
namespace {

namespace fs = std::filesystem;

constexpr char kOptionName[] = "--recipe";
constexpr std::size_t kMaxDepth = 8;  // of a chain of bases
constexpr std::size_t kMaxSpecBytes = 65536;

struct Setting {
  std::string value;
  std::string origin;
};
using Settings = std::map<std::string, Setting>;  // by section.key

struct Override {
  std::string section, key, value;
};

struct Spec {
  std::string name;  // or path
  std::vector<Override> overrides;
};

bool is_word(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

// "section.key=value", or nothing for a part that continues the value before it.
bool read_override(std::string_view part, Override& result) {
  const std::size_t equals = part.find('=');
  if (equals == std::string_view::npos) return false;
  const std::string_view name = trim(part.substr(0, equals));
  const std::size_t dot = name.find('.');
  if (dot == std::string_view::npos || !is_word(name.substr(0, dot)) || !is_word(name.substr(dot + 1)))
    return false;
  result = {std::string(name.substr(0, dot)), std::string(name.substr(dot + 1)),
            std::string(trim(part.substr(equals + 1)))};
  return true;
}

// "learning_rate=3" would silently lengthen the value before it.
void refuse_bare_key(std::string_view part) {
  const std::string_view name = trim(part.substr(0, std::min(part.find('='), part.size())));
  if (name.size() == part.size()) return;
  for (const Key& key : keys()) {
    if (key.info.key == name)
      fail("'{}' lacks its section; write {}={}", part.substr(0, 60), key.full_name(),
           trim(part.substr(part.find('=') + 1)));
  }
}

Spec parse_spec(std::string_view text) {
  if (trim(text).empty()) fail("no recipe is named; write a name or a path to an .ini file");
  if (text.size() > kMaxSpecBytes) fail("longer than {} bytes", kMaxSpecBytes);
  Spec spec;
  bool first = true;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view part = text.substr(begin, end - begin);
    Override override;
    if (!first && read_override(part, override)) {
      spec.overrides.push_back(std::move(override));
    } else {
      if (!first) refuse_bare_key(part);
      std::string& target = spec.overrides.empty() ? spec.name : spec.overrides.back().value;
      target += (first ? "" : ",") + std::string(part);
    }
    first = false;
    begin = end + 1;
  }
  spec.name = trim(spec.name);
  return spec;
}

bool is_path(std::string_view name) {
  return name.find('/') != std::string_view::npos || name.ends_with(".ini");
}

std::string searched(const SearchPath& path) {
  return path.empty() ? "; there is no folder to search" : fmt::format(" in {}", fmt::join(path, ":"));
}

std::string find_named(const std::string& name, const SearchPath& path) {
  if (!valid_recipe_name(name)) {
    fail("'{}' is no recipe name (letters, digits and . _ -) and no path to an .ini file",
         name.substr(0, 80));
  }
  std::vector<std::string> known;
  for (const std::string& folder : path) {
    const fs::path candidate = fs::path(folder) / (name + ".ini");
    std::error_code ignored;
    if (fs::exists(candidate, ignored)) return candidate.string();
    for (const auto& entry : fs::directory_iterator(folder, ignored)) {
      if (entry.path().extension() == ".ini") known.push_back(entry.path().stem().string());
    }
  }
  const std::string close = did_you_mean(name, known);
  fail("recipe '{}' is not{}{}", name, searched(path),
       close.empty() ? "; see `stint recipe list`" : fmt::format("; did you mean '{}'?", close));
}

// Where a file's base lies: a path is relative to the file's own folder.
std::string find_base(const std::string& base, const std::string& file, const SearchPath& path) {
  if (!is_path(base)) return find_named(base, path);
  const fs::path given(base);
  return (given.is_absolute() ? given : fs::path(file).parent_path() / given).string();
}

void take_entries(const IniFile& file, bool is_base, Settings& settings) {
  for (const IniEntry& entry : file.entries()) {
    if (entry.section == kRecipeSection && entry.key == kBaseKey) continue;
    try {
      Recipe scratch;
      set_entry(entry.section, entry.key, entry.value, scratch);
      // The name and the description are a file's own.
      if (is_base && entry.section == kRecipeSection) continue;
      settings[entry.section + "." + entry.key] = {entry.value,
                                                   fmt::format("{}:{}", file.name(), entry.line)};
    } catch (const Error& error) {
      fail("{}{}", file.where(entry), error.what());
    }
  }
}

void check_sections(const IniFile& file) {
  for (const std::string& section : file.sections()) {
    const auto& all = keys();
    const bool known =
        std::any_of(all.begin(), all.end(), [&](const Key& key) { return key.info.section == section; });
    const bool has_entry = std::any_of(file.entries().begin(), file.entries().end(),
                                       [&](const IniEntry& entry) { return entry.section == section; });
    if (!known && !has_entry) fail("{}: unknown section [{}]", file.name(), section);
  }
}

std::string file_names(const std::vector<fs::path>& paths) {
  std::string text;
  for (const fs::path& path : paths) text += (text.empty() ? "" : " -> ") + path.filename().string();
  return text;
}

// The file's settings over its base's; `chain` holds the files on the way here.
void load(const std::string& path, const SearchPath& search, std::vector<fs::path>& chain,
          Settings& settings) {
  const IniFile file = IniFile::load(path);
  check_sections(file);
  const fs::path identity = fs::weakly_canonical(path);
  const bool cyclic = std::find(chain.begin(), chain.end(), identity) != chain.end();
  chain.push_back(identity);
  if (cyclic) fail("{}: is its own base, by way of {}", path, file_names(chain));
  if (chain.size() > kMaxDepth) fail("{}: more than {} recipes in a chain of bases", path, kMaxDepth);
  const auto base = std::find_if(file.entries().begin(), file.entries().end(), [](const IniEntry& entry) {
    return entry.section == kRecipeSection && entry.key == kBaseKey;
  });
  const bool is_base = chain.size() > 1;
  if (base != file.entries().end()) {
    std::string base_path;
    try {
      base_path = find_base(base->value, path, search);
      std::error_code ignored;
      if (!fs::exists(base_path, ignored)) fail("no file {}", base_path);
    } catch (const Error& error) {
      fail("{}base: {}", file.where(*base), error.what());
    }
    load(base_path, search, chain, settings);
  }
  take_entries(file, is_base, settings);
}

void apply_overrides(const std::vector<Override>& overrides, Settings& settings) {
  for (const Override& override : overrides) {
    const std::string name = override.section + "." + override.key;
    if (override.section == kRecipeSection && override.key == kBaseKey) {
      fail("{}: recipe.base is set in a file only", kOptionName);
    }
    const auto same = [&](const Override& other) {
      return other.section == override.section && other.key == override.key;
    };
    if (std::count_if(overrides.begin(), overrides.end(), same) > 1)
      fail("{}: '{}' is given twice", kOptionName, name);
    try {
      find_key(override.section, override.key);
    } catch (const Error& error) {
      fail("{}: {}", kOptionName, error.what());
    }
    settings[name] = {override.value, kOptionName};
  }
}

void set_value(const Key& key, const Setting& setting, Recipe& recipe) {
  try {
    key.set(recipe, setting.value);
  } catch (const Error& error) {
    fail("{}: {}: {}", setting.origin, key.full_name(), error.what());
  }
}

Recipe fill(const Settings& settings, const std::string& name, bool allow_missing,
            std::map<std::string, std::string>& origins) {
  Recipe recipe;
  for (const Key& key : keys()) {
    const auto given = settings.find(key.full_name());
    if (given != settings.end()) {
      set_value(key, given->second, recipe);
      origins[key.full_name()] = given->second.origin;
    } else if (key.info.given_at_submit) {
      if (!allow_missing)
        fail("{}: {} is not given; add ,{}=VALUE to {}", name, key.full_name(), key.full_name(), kOptionName);
    } else if (key.info.required) {
      fail("{}: {} is missing; set '{}' in [{}]", name, key.full_name(), key.info.key, key.info.section);
    } else {
      set_value(key, {key.info.default_value, "default"}, recipe);
      origins[key.full_name()] = "default";
    }
  }
  return recipe;
}

void check_size(const Recipe& recipe) {
  const std::size_t size = freeze(recipe).size();
  if (size > contract::kMaxRecipeBytes) {
    fail("{}: the complete recipe has {} bytes; at most {} fit into a job", recipe.name, size,
         contract::kMaxRecipeBytes);
  }
}

}  // namespace

Resolution resolve_with_origins(std::string_view spec_text, const SearchPath& path, bool allow_missing) {
  Spec spec;
  std::string file;
  try {
    spec = parse_spec(spec_text);
    file = is_path(spec.name) ? spec.name : find_named(spec.name, path);
  } catch (const Error& error) {
    fail("{}: {}", kOptionName, error.what());
  }
  Settings settings;
  std::vector<fs::path> chain;
  load(file, path, chain, settings);
  apply_overrides(spec.overrides, settings);
  settings.try_emplace("recipe.name", Setting{fs::path(file).stem().string(), "file name"});

  Resolution result;
  result.recipe = fill(settings, settings["recipe.name"].value, allow_missing, result.origins);
  check_rules(result.recipe);
  check_size(result.recipe);
  return result;
}

Recipe resolve(std::string_view spec, const SearchPath& path) {
  return resolve_with_origins(spec, path, false).recipe;
}

}  // namespace stint::recipes
