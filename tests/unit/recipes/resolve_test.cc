// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include "base/error.h"
#include "recipes/recipe.h"
#include "tests/unit/recipes/recipe_folder.h"

namespace stint::recipes {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

class Resolve : public testing::Test {
 protected:
  std::string problem(const std::string& spec) const { return folder_.problem(spec); }
  Recipe small(const std::string& overrides = {}) const {
    return folder_.resolve("small,data.path=/t" + overrides);
  }
  RecipeFolder folder_;
};

TEST_F(Resolve, NameIsLookedUpAndDefaultsHold) {
  const Recipe recipe = small();
  EXPECT_EQ(recipe.name, "small");
  EXPECT_EQ(recipe.run.steps, 10);
  EXPECT_EQ(recipe.model.hidden_size, 8);
  EXPECT_THAT(recipe.optim.betas, ElementsAre(0.9, 0.95));
  EXPECT_EQ(recipe.resilience.heartbeat_interval, std::chrono::milliseconds(100));
  EXPECT_EQ(recipe.resources.time_limit, std::chrono::minutes(0));
  EXPECT_EQ(recipe.data.path, "/t");
}

TEST_F(Resolve, PathIsTakenAsItIs) {
  EXPECT_EQ(resolve(folder_.path("small.ini") + ",data.path=t", {}).name, "small");
  EXPECT_EQ(problem("/nowhere/x.ini"), "/nowhere/x.ini: No such file or directory");
  EXPECT_EQ(problem(folder_.path()), "DIR/: is a folder, not a file");
}

TEST_F(Resolve, EarlierFolderWins) {
  RecipeFolder first;
  first.write("small.ini", std::string(kSmall) + "gres = gpu:1\n");
  EXPECT_EQ(resolve("small,data.path=t", {first.path(), folder_.path()}).resources.gres, "gpu:1");
}

TEST_F(Resolve, UnknownNamesGetASuggestion) {
  EXPECT_EQ(problem("smal"), "--recipe: recipe 'smal' is not in DIR; did you mean 'small'?");
  EXPECT_EQ(problem("llama3"), "--recipe: recipe 'llama3' is not in DIR; see `stint recipe list`");
  EXPECT_EQ(problem(""), "--recipe: no recipe is named; write a name or a path to an .ini file");
  EXPECT_THAT(problem("sm all"), HasSubstr("'sm all' is no recipe name"));
  EXPECT_THAT(error_of([] { resolve("x", {}); }), HasSubstr("there is no folder to search"));
}

TEST_F(Resolve, UnknownKeyNamesFileLineAndTheLikelyKey) {
  folder_.write("llama.ini", std::string(kSmall) + "[data]\npath = t\n[checkpoint]\nkepe = 3\n");
  EXPECT_EQ(problem(folder_.path("llama.ini")),
            "DIR/llama.ini:17: unknown key 'kepe' in [checkpoint]; did you mean 'keep'?");
  folder_.write("llama.ini", "[optim]\n\nlearning_rte = 1\n");
  EXPECT_EQ(problem("llama"),
            "DIR/llama.ini:3: unknown key 'learning_rte' in [optim]; did you mean 'learning_rate'?");
  folder_.write("llama.ini", "[optm]\nlearning_rate = 1\n");
  EXPECT_EQ(problem("llama"), "DIR/llama.ini:2: unknown section [optm]; did you mean 'optim'?");
  folder_.write("llama.ini", "[run]\nlearning_rate = 1\n");
  EXPECT_EQ(problem("llama"),
            "DIR/llama.ini:2: unknown key 'learning_rate' in [run]; it belongs into [optim]");
  folder_.write("llama.ini", "[nothing]\n");
  EXPECT_EQ(problem("llama"), "DIR/llama.ini: unknown section [nothing]");
}

TEST_F(Resolve, WrongValueNamesFileLineAndRange) {
  folder_.write("a.ini", "[run]\nsteps = 0\n");
  EXPECT_EQ(problem("a"), "DIR/a.ini:2: run.steps: 0 is out of range; it lies between 1 and 1000000000");
  folder_.write("a.ini", "[model]\nprecision = bf61\n");
  EXPECT_EQ(problem("a"),
            "DIR/a.ini:2: model.precision: 'bf61' is none of fp32 | bf16 | fp16; did you mean 'bf16'?");
  folder_.write("a.ini", "[optim]\nbetas = 0.9\n");
  EXPECT_EQ(problem("a"), "DIR/a.ini:2: optim.betas: '0.9' is not two numbers, such as 0.9,0.95");
}

TEST_F(Resolve, BadFilesAreRefused) {
  folder_.write("a.ini", "");
  EXPECT_EQ(problem("a,data.path=t"), "a: run.steps is missing; set 'steps' in [run]");
  folder_.write("a.ini", std::string("\x00\x01\x02", 3));
  EXPECT_THAT(problem("a"), HasSubstr("a.ini:1: a control byte"));
  folder_.write("a.ini", std::string(2 << 20, '#'));
  EXPECT_THAT(problem("a"), HasSubstr("a.ini: larger than"));
  folder_.write("a.ini", "[run]\nsteps = 1\nsteps = 2\n");
  EXPECT_EQ(problem("a"), "DIR/a.ini:3: 'steps' is given twice in [run]");
}

TEST_F(Resolve, MissingDataPathSaysHowToGiveIt) {
  EXPECT_EQ(problem("small"), "small: data.path is not given; add ,data.path=VALUE to --recipe");
  const Resolution resolution = resolve_with_origins("small", folder_.search(), true);
  EXPECT_EQ(resolution.recipe.data.path, "");
  EXPECT_FALSE(resolution.origins.contains("data.path"));
}

TEST_F(Resolve, OverridesKeepTheirCommas) {
  const Recipe recipe = small(",optim.betas=0.8,0.99,run.steps=7,resources.gres=gpu:8,shard:2");
  EXPECT_THAT(recipe.optim.betas, ElementsAre(0.8, 0.99));
  EXPECT_EQ(recipe.run.steps, 7);
  EXPECT_EQ(recipe.resources.gres, "gpu:8,shard:2");
  folder_.write("a,b.ini", kSmall);
  EXPECT_EQ(folder_.resolve(folder_.path("a,b.ini") + ",data.path=t,recipe.name=ab").name, "ab");
}

TEST_F(Resolve, OverrideGivenTwiceIsRefused) {
  EXPECT_EQ(problem("small,data.path=/t,data.path=/b"), "--recipe: 'data.path' is given twice");
}

TEST_F(Resolve, OverrideErrorsSpeakOfTheOption) {
  EXPECT_EQ(problem("small,run.stpes=1"), "--recipe: unknown key 'stpes' in [run]; did you mean 'steps'?");
  EXPECT_EQ(problem("small,rnu.steps=1"), "--recipe: unknown section [rnu]; did you mean 'run'?");
  EXPECT_EQ(problem("small,data.path=/t,run.steps=many"), "--recipe: run.steps: 'many' is no whole number");
  EXPECT_EQ(problem("small,learning_rate=1"),
            "--recipe: 'learning_rate=1' lacks its section; write optim.learning_rate=1");
  EXPECT_EQ(problem("small,recipe.base=x"), "--recipe: recipe.base is set in a file only");
  EXPECT_EQ(problem("small,data.path="), "--recipe: data.path: the path is empty");
  EXPECT_THAT(problem("small,data.path=a\nb"), HasSubstr("data.path: the value holds a control byte"));
  EXPECT_THAT(problem("small,data.path=/t ; rm"), HasSubstr("data.path: a comment stands on its own line"));
  EXPECT_THAT(problem("small," + std::string(70000, 'x')), HasSubstr("--recipe: longer than 65536 bytes"));
}

TEST_F(Resolve, BaseGivesWhatTheFileLeavesOut) {
  folder_.write("child.ini",
                "[recipe]\nbase = small\ndescription = a child\n[run]\nsteps = 99\n[data]\npath = /c\n");
  folder_.write("sub/grandchild.ini", "[recipe]\nbase = ../child.ini\n[optim]\nbetas = 0.5,0.6\n");
  const Recipe recipe = folder_.resolve(folder_.path("sub/grandchild.ini"));
  EXPECT_EQ(recipe.name, "grandchild");
  EXPECT_EQ(recipe.description, "");
  EXPECT_EQ(recipe.run.steps, 99);
  EXPECT_EQ(recipe.model.hidden_size, 8);
  EXPECT_EQ(recipe.data.path, "/c");
  EXPECT_THAT(recipe.optim.betas, ElementsAre(0.5, 0.6));
}

TEST_F(Resolve, OriginNamesWhereAValueWasSet) {
  folder_.write("child.ini", "[recipe]\nbase = small\n[run]\nsteps = 99\n");
  const auto origins = resolve_with_origins("child,run.seed=5", folder_.search(), true).origins;
  EXPECT_EQ(origins.at("run.steps"), folder_.path("child.ini") + ":4");
  EXPECT_EQ(origins.at("model.hidden_size"), folder_.path("small.ini") + ":5");
  EXPECT_EQ(origins.at("run.seed"), "--recipe");
  EXPECT_EQ(origins.at("optim.eps"), "default");
  EXPECT_EQ(origins.at("recipe.name"), "file name");
}

TEST_F(Resolve, BrokenBasesAreNamed) {
  folder_.write("a.ini", "[recipe]\nbase = nowhere\n");
  EXPECT_EQ(problem("a"), "DIR/a.ini:2: base: recipe 'nowhere' is not in DIR; see `stint recipe list`");
  folder_.write("a.ini", "[recipe]\nbase = parts/x.ini\n");
  EXPECT_EQ(problem("a"), "DIR/a.ini:2: base: no file DIR/parts/x.ini");
  folder_.write("a.ini", "[recipe]\nbase =\n");
  EXPECT_THAT(problem("a"), StartsWith("DIR/a.ini:2: base: '' is no recipe name"));
  folder_.write("bad.ini", "[run]\nsteps = x\n");
  folder_.write("a.ini", "[recipe]\nbase = bad\n");
  EXPECT_EQ(problem("a"), "DIR/bad.ini:2: run.steps: 'x' is no whole number");
}

TEST_F(Resolve, CyclesAndLongChainsOfBasesAreRefused) {
  folder_.write("a.ini", "[recipe]\nbase = b\n");
  folder_.write("b.ini", "[recipe]\nbase = ./a.ini\n");
  EXPECT_THAT(problem("a"), HasSubstr("is its own base, by way of a.ini -> b.ini -> a.ini"));
  folder_.write("c.ini", "[recipe]\nbase = c\n");
  EXPECT_THAT(problem("c"), HasSubstr("is its own base, by way of c.ini -> c.ini"));
  for (int i = 0; i < 12; ++i) {
    folder_.write("d" + std::to_string(i) + ".ini", "[recipe]\nbase = d" + std::to_string(i + 1) + "\n");
  }
  EXPECT_EQ(problem("d0"), "DIR/d8.ini: more than 8 recipes in a chain of bases");
}

TEST_F(Resolve, LongPathsFitAndLongerOnesAreRefused) {
  const std::string path = "/" + std::string(3999, 'p');
  EXPECT_EQ(folder_.resolve("small,data.path=" + path).data.path, path);
  folder_.write("long.ini", std::string(kSmall) + "[data]\npath = " + path + "\n");
  EXPECT_EQ(folder_.resolve("long").data.path, path);
  EXPECT_EQ(problem("small,data.path=" + path + "p"), "--recipe: data.path: longer than 4000 bytes");
}

TEST_F(Resolve, PathsOfTheUserStayAsTheyAre) {
  EXPECT_EQ(folder_.resolve("small,data.path=~/book.txt").data.path, "~/book.txt");
  EXPECT_EQ(folder_.resolve("small,data.path=../a b,c.txt").data.path, "../a b,c.txt");
}

}  // namespace
}  // namespace stint::recipes
