// SPDX-License-Identifier: Apache-2.0
#include "recipes/command.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "base/config.h"
#include "base/error.h"
#include "recipes/estimate.h"
#include "recipes/memory.h"
#include "recipes/recipe.h"

namespace stint::recipes {
namespace {

struct ShowOptions {
  std::string spec;
  bool frozen = false, origin = false, keys = false;
};

SearchPath search_path() {
  return default_search_path(load_config().recipe_path);
}

std::string default_text(const KeyInfo& key) {
  if (key.given_at_submit) return "at submit";
  return key.required ? "required" : key.default_value;
}

void print_keys() {
  std::string section;
  for (const KeyInfo& key : key_table()) {
    if (key.section != section) {
      section = key.section;
      fmt::print("[{}]\n", section);
    }
    const std::string range = key.range.empty() ? key.type : key.type + ", " + key.range;
    fmt::print("  {:<22} {:<42} {:<16} {}\n", key.key, range, default_text(key), key.help);
  }
}

// Section, key and value of each row; the frozen text is the one form that holds them all.
void print_origins(const Resolution& resolution) {
  const IniFile file = IniFile::parse(freeze(resolution.recipe), resolution.recipe.name);
  for (const IniEntry& entry : file.entries()) {
    const std::string name = entry.section + "." + entry.key;
    const auto origin = resolution.origins.find(name);
    const bool set = origin != resolution.origins.end();
    fmt::print("{:<32} {:<32} {}\n", name, entry.value, set ? origin->second : "not given");
  }
}

// As a recipe that could be saved; a key that is still to be given stands there as a comment.
void print_values(const Resolution& resolution) {
  const IniFile file = IniFile::parse(freeze(resolution.recipe), resolution.recipe.name);
  std::string section;
  for (const IniEntry& entry : file.entries()) {
    if (entry.section != section) fmt::print("{}[{}]\n", section.empty() ? "" : "\n", entry.section);
    section = entry.section;
    const bool set = resolution.origins.contains(entry.section + "." + entry.key) || !entry.value.empty();
    if (set) fmt::print("{} = {}\n", entry.key, entry.value);
    if (!set) fmt::print("# {} = is given at submit\n", entry.key);
  }
}

void show(const ShowOptions& options) {
  if (options.keys) return print_keys();
  if (options.spec.empty()) fail("recipe show: name a recipe, or give --keys");
  const Resolution resolution = resolve_with_origins(options.spec, search_path(), !options.frozen);
  if (options.origin) return print_origins(resolution);
  if (!options.frozen) return print_values(resolution);
  fmt::print("{}", freeze(resolution.recipe));
}

struct EstimateOptions {
  std::string spec;
  std::int64_t nodes = 0;
};

void print_estimate(const EstimateOptions& options) {
  const Config config = load_config();
  const Recipe recipe =
      resolve_with_origins(options.spec, default_search_path(config.recipe_path), true).recipe;
  const std::int64_t nodes = options.nodes > 0 ? options.nodes : recipe.resources.nodes;
  const std::int64_t each = recipe.resources.workers_per_node;
  fmt::print("{}{}", to_text(estimate(recipe), nodes, config.node_tflops),
             to_text(memory(recipe, nodes * each), each));
}

void print_catalogue() {
  const SearchPath path = search_path();
  const std::vector<CatalogueEntry> entries = list(path);
  if (entries.empty()) fail("no recipes in {}", fmt::join(path, ":"));
  std::size_t width = 0;
  for (const CatalogueEntry& entry : entries) width = std::max(width, entry.name.size());
  for (const CatalogueEntry& entry : entries) {
    fmt::print("{:<{}}  {}\n", entry.name, width,
               entry.error.empty() ? entry.description : "WRONG: " + entry.error);
  }
}

// What is wrong with it; empty: nothing.
std::string problem_of(const std::string& spec, const SearchPath& path) {
  try {
    resolve_with_origins(spec, path, true);
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

void validate(std::vector<std::string> specs) {
  const SearchPath path = search_path();
  if (specs.empty()) {
    for (const CatalogueEntry& entry : list(path)) specs.push_back(entry.path);
  }
  if (specs.empty()) fail("no recipes in {}", fmt::join(path, ":"));
  std::size_t wrong = 0;
  for (const std::string& spec : specs) {
    const std::string problem = problem_of(spec, path);
    if (!problem.empty()) ++wrong;
    fmt::print("{}  {}\n", problem.empty() ? "ok   " : "wrong", problem.empty() ? spec : problem);
  }
  std::fflush(stdout);
  if (wrong > 0) fail("{} of {} recipes {} wrong", wrong, specs.size(), wrong == 1 ? "is" : "are");
}

}  // namespace

void add_recipe_command(CLI::App& program) {
  CLI::App* group = program.add_subcommand("recipe", "Recipes: whole training runs as short INI files");
  group->require_subcommand(1);
  group->add_subcommand("list", "the recipes that --recipe knows by name")->callback(print_catalogue);

  const auto options = std::make_shared<ShowOptions>();
  CLI::App* shown = group->add_subcommand("show", "a recipe with every key, bases and overrides resolved");
  shown->add_option("recipe", options->spec, "NAME or PATH.ini[,section.key=value...], as for --recipe");
  shown->add_flag("--frozen", options->frozen,
                  "exactly the text that a job would get; nothing may be missing");
  shown->add_flag("--origin", options->origin, "say for each value where it comes from");
  shown->add_flag("--keys", options->keys, "the table of all keys: type, range, default, meaning");
  shown->callback([options] { show(*options); });

  const auto estimated = std::make_shared<EstimateOptions>();
  CLI::App* estimate_command = group->add_subcommand(
      "estimate", "how much arithmetic a recipe is, how long it takes here, and how much memory");
  estimate_command->add_option("recipe", estimated->spec, "NAME or PATH.ini[,section.key=value...]")
      ->required();
  estimate_command->add_option("--nodes", estimated->nodes, "default: the recipe's own")
      ->check(CLI::Range(1, 65'536));
  estimate_command->callback([estimated] { print_estimate(*estimated); });

  const auto specs = std::make_shared<std::vector<std::string>>();
  CLI::App* validated =
      group->add_subcommand("validate", "check recipes; all that `list` shows when none is named");
  validated->add_option("recipes", *specs, "names or paths");
  validated->callback([specs] { validate(*specs); });
}

}  // namespace stint::recipes
