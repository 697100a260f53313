// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/text.h"
#include "recipes/recipe.h"

namespace stint::recipes {
namespace {

namespace fs = std::filesystem;

void add_folder(const std::string& folder, SearchPath& path) {
  if (!folder.empty() && std::find(path.begin(), path.end(), folder) == path.end()) path.push_back(folder);
}

// The program or plugin that holds this code.
fs::path own_file() {
  Dl_info found{};
  std::error_code ignored;
  if (::dladdr(reinterpret_cast<void*>(&own_file), &found) != 0 && found.dli_fname) {
    const fs::path file = found.dli_fname;
    if (file.is_absolute()) return fs::weakly_canonical(file, ignored);
  }
  return fs::read_symlink("/proc/self/exe", ignored);
}

CatalogueEntry describe(const fs::path& file, const SearchPath& path) {
  CatalogueEntry entry{file.stem().string(), {}, file.string(), {}};
  try {
    entry.description = resolve_with_origins(file.string(), path, true).recipe.description;
  } catch (const Error& error) {
    entry.error = error.what();
  }
  return entry;
}

}  // namespace

SearchPath default_search_path(const std::vector<std::string>& configured) {
  SearchPath path;
  if (const char* environment = std::getenv("STINT_RECIPES")) {
    for (const std::string& folder : split(environment, ':')) add_folder(folder, path);
  }
  for (const std::string& folder : configured) add_folder(folder, path);
  const fs::path beside = own_file().parent_path().parent_path() / "share" / "stint" / "recipes";
  std::error_code ignored;
  if (fs::is_directory(beside, ignored)) add_folder(beside.string(), path);
  add_folder(STINT_INSTALLED_RECIPES, path);
  return path;
}

std::vector<CatalogueEntry> list(const SearchPath& path) {
  std::vector<CatalogueEntry> entries;
  for (const std::string& folder : path) {
    std::error_code ignored;
    for (const auto& item : fs::directory_iterator(folder, ignored)) {
      const fs::path file = item.path();
      const auto same = [&](const CatalogueEntry& entry) { return entry.name == file.stem().string(); };
      if (file.extension() != ".ini" || std::any_of(entries.begin(), entries.end(), same)) continue;
      entries.push_back(describe(file, path));
    }
  }
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return entries;
}

}  // namespace stint::recipes
