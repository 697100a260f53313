// SPDX-License-Identifier: Apache-2.0
// A folder of recipes for one test, with one small valid recipe to start from.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include "recipes/recipe.h"
#include "tests/unit/base/temporary.h"

namespace stint::recipes {

inline constexpr char kSmall[] =
    "[run]\nsteps = 10\n"
    "[model]\nvocab_size = 256\nhidden_size = 8\nintermediate_size = 16\nnum_hidden_layers = 1\n"
    "num_attention_heads = 2\nnum_key_value_heads = 1\n"
    "[optim]\nlearning_rate = 0.01\n[resources]\nnodes = 2\n";

class RecipeFolder {
 public:
  RecipeFolder() { write("small.ini", kSmall); }

  void write(const std::string& name, const std::string& text) {
    const std::filesystem::path path = folder_.path() / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
  }
  std::string path(const std::string& name = {}) const { return (folder_.path() / name).string(); }
  SearchPath search() const { return {folder_.path().string()}; }

  Recipe resolve(const std::string& spec) const { return recipes::resolve(spec, search()); }
  // The message of a refused recipe; the folder's path reads as DIR.
  std::string problem(const std::string& spec) const {
    std::string message = error_of([&] { resolve(spec); });
    const std::string folder = folder_.path().string();
    for (std::size_t at; (at = message.find(folder)) != std::string::npos;)
      message.replace(at, folder.size(), "DIR");
    return message;
  }

 private:
  TemporaryFolder folder_;
};

}  // namespace stint::recipes
