// SPDX-License-Identifier: Apache-2.0
#include "recipes/command.h"

#include <gmock/gmock.h>

#include <CLI/CLI.hpp>
#include <cstdlib>

#include "base/contract.h"
#include "base/error.h"
#include "tests/unit/recipes/recipe_folder.h"

namespace stint::recipes {
namespace {

using testing::HasSubstr;
using testing::Not;

class RecipeCommand : public testing::Test {
 protected:
  void SetUp() override {
    folder_.write("stint.conf", "");
    ::setenv("STINT_RECIPES", folder_.path().c_str(), 1);
    ::setenv(contract::kConfigEnv, folder_.path("stint.conf").c_str(), 1);
  }
  void TearDown() override {
    ::unsetenv("STINT_RECIPES");
    ::unsetenv(contract::kConfigEnv);
  }
  // What the command prints; the error's text is appended as "!text".
  std::string run(const std::string& line) {
    CLI::App program{"stint", "stint"};
    add_recipe_command(program);
    testing::internal::CaptureStdout();
    const std::string error = error_of([&] { program.parse(line); });
    const std::string output = testing::internal::GetCapturedStdout();
    return error == "no error" ? output : output + "!" + error;
  }
  RecipeFolder folder_;
};

TEST_F(RecipeCommand, ListShowsNamesAndWhatIsWrong) {
  folder_.write("broken.ini", "[run]\nsteps = x\n");
  const std::string output = run("recipe list");
  EXPECT_THAT(output, HasSubstr("small"));
  EXPECT_THAT(output, HasSubstr("WRONG: "));
  EXPECT_THAT(output, HasSubstr("'x' is no whole number"));
}

TEST_F(RecipeCommand, ShowMarksWhatIsGivenAtSubmit) {
  const std::string output = run("recipe show small,run.steps=77");
  EXPECT_THAT(output, HasSubstr("steps = 77\n"));
  EXPECT_THAT(output, HasSubstr("# path = is given at submit\n"));
  EXPECT_THAT(output, Not(HasSubstr("# description")));
}

TEST_F(RecipeCommand, ShowFrozenIsTheTextOfAJob) {
  EXPECT_EQ(run("recipe show small,data.path=/t --frozen"), freeze(folder_.resolve("small,data.path=/t")));
  EXPECT_EQ(run("recipe show small --frozen"),
            "!small: data.path is not given; add ,data.path=VALUE to --recipe");
}

TEST_F(RecipeCommand, ShowOriginNamesFileAndLine) {
  EXPECT_THAT(run("recipe show small,run.seed=4 --origin"),
              testing::AllOf(HasSubstr(folder_.path("small.ini") + ":2\n"), HasSubstr("--recipe\n"),
                             HasSubstr("default\n"), HasSubstr("not given\n")));
}

TEST_F(RecipeCommand, ShowKeysPrintsTheWholeTable) {
  const std::string output = run("recipe show --keys");
  for (const KeyInfo& key : key_table()) EXPECT_THAT(output, HasSubstr(key.help));
  EXPECT_EQ(run("recipe show"), "!recipe show: name a recipe, or give --keys");
}

TEST_F(RecipeCommand, ValidateSaysWhichRecipesAreWrong) {
  EXPECT_EQ(run("recipe validate small"), "ok     small\n");
  EXPECT_THAT(run("recipe validate small smal"),
              testing::AllOf(HasSubstr("ok     small\nwrong  --recipe: recipe 'smal' is not in "),
                             HasSubstr("; did you mean 'small'?\n!1 of 2 recipes is wrong")));
  folder_.write("broken.ini", "[run]\nsteps = x\n");
  EXPECT_THAT(run("recipe validate"), HasSubstr("broken.ini:2: run.steps"));
  EXPECT_THAT(run("recipe validate"), HasSubstr("recipes is wrong"));
}

}  // namespace
}  // namespace stint::recipes
