// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <cstdlib>

#include "base/error.h"
#include "tests/unit/recipes/recipe_folder.h"

namespace stint::recipes {
namespace {

TEST(Catalogue, ListsByNameWithDescriptionsAndErrors) {
  RecipeFolder folder, later;
  folder.write("child.ini", "[recipe]\nbase = small\ndescription = a child\n");
  folder.write("broken.ini", "[run]\nsteps = x\n");
  folder.write("notes.txt", "no recipe");
  folder.write("parts/shared.ini", "[run]\nsteps = 3\n");
  later.write("child.ini", "[recipe]\nbase = small\ndescription = hidden by the first\n");
  const auto entries = list({folder.path(), "/nowhere", later.path()});
  ASSERT_EQ(entries.size(), 3U);
  EXPECT_EQ(entries[0].name, "broken");
  EXPECT_EQ(entries[0].error, folder.path("broken.ini") + ":2: run.steps: 'x' is no whole number");
  EXPECT_EQ(entries[1].name, "child");
  EXPECT_EQ(entries[1].description, "a child");
  EXPECT_EQ(entries[1].error, "");
  EXPECT_EQ(entries[2].name, "small");
}

TEST(Catalogue, EnvironmentComesFirstThenTheConfiguration) {
  ::setenv("STINT_RECIPES", "/e1::/e2", 1);
  const SearchPath path = default_search_path({"/c", "/e1"});
  ::unsetenv("STINT_RECIPES");
  ASSERT_GE(path.size(), 4U);
  EXPECT_EQ((SearchPath{path[0], path[1], path[2]}), (SearchPath{"/e1", "/e2", "/c"}));
}

// The recipes of the project itself, found as an uninstalled program finds them.
TEST(Catalogue, ShippedRecipesResolve) {
  const auto entries = list(default_search_path({}));
  EXPECT_GE(entries.size(), 2U);
  for (const CatalogueEntry& entry : entries) {
    EXPECT_EQ(entry.error, "") << entry.name;
    EXPECT_NE(entry.description, "") << entry.name;
  }
  const Recipe tiny = resolve("tiny-llama,data.path=book.txt", default_search_path({}));
  EXPECT_EQ(tiny.resources.nodes, 4);
  EXPECT_EQ(tiny.data.global_batch_size % tiny.resources.nodes, 0);
}

}  // namespace
}  // namespace stint::recipes
