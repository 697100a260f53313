// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <algorithm>
#include <random>

#include "base/contract.h"
#include "base/error.h"
#include "recipes/keys.h"
#include "tests/unit/recipes/recipe_folder.h"

namespace stint::recipes {
namespace {

using testing::HasSubstr;

std::string frozen_small() {
  const RecipeFolder folder;
  return freeze(folder.resolve("small,data.path=/t"));
}

TEST(Freeze, HoldsEveryKeyAndNoBase) {
  const std::string text = frozen_small();
  for (const KeyInfo& key : key_table()) EXPECT_THAT(text, HasSubstr("\n" + key.key + " =")) << key.key;
  EXPECT_EQ(text.find("base"), std::string::npos);
  EXPECT_LT(text.size(), contract::kMaxRecipeBytes);
}

TEST(Freeze, IsItsOwnFixedPoint) {
  const std::string text = frozen_small();
  EXPECT_EQ(freeze(parse_frozen(text, "x")), text);
}

TEST(Freeze, IsARecipeThatCanBeGivenAgain) {
  RecipeFolder folder;
  const std::string text = frozen_small();
  folder.write("run/recipe.ini", text);
  EXPECT_EQ(freeze(folder.resolve(folder.path("run/recipe.ini"))), text);
}

TEST(Freeze, MissingAndUnknownKeysAreRefused) {
  const std::string text = frozen_small();
  const auto problem = [](const std::string& changed) {
    return error_of([&] { parse_frozen(changed, "recipe.ini"); });
  };
  std::string changed = text;
  changed.erase(changed.find("steps = 10\n"), 11);
  EXPECT_EQ(problem(changed), "recipe.ini: lacks 'steps' in [run]; a frozen recipe holds every key");
  const auto line = 1 + std::count(text.begin(), text.end(), '\n');
  EXPECT_EQ(problem(text + "nodse = 1\n"), "recipe.ini:" + std::to_string(line) +
                                               ": unknown key 'nodse' in [resources]; did you mean 'nodes'?");
  EXPECT_EQ(problem(""), "recipe.ini: lacks 'name' in [recipe]; a frozen recipe holds every key");
  EXPECT_THAT(problem(text + std::string(contract::kMaxRecipeBytes, '#')),
              HasSubstr("larger than the 98304 bytes"));
  changed = text;
  changed.replace(changed.find("hidden_size = 8"), 15, "hidden_size = 9");
  EXPECT_THAT(problem(changed), HasSubstr("not divisible"));
}

TEST(Freeze, AnyCutIsRefused) {
  const std::string text = frozen_small();
  const std::size_t last_key = text.rfind("time_limit");
  for (std::size_t length = 0; length < last_key; length += 13) {
    EXPECT_NE(error_of([&] { parse_frozen(text.substr(0, length), "x"); }), "no error") << length;
  }
}

class RandomRecipe {
 public:
  explicit RandomRecipe(unsigned seed) : random_(seed) {}

  Recipe make() {
    Recipe r;
    r.name = "r" + word();
    r.description = word() + " = [" + word() + "] #" + word();
    r.run = {"runs/" + word() + "/%j", pick(1, 1'000'000'000), std::uint64_t(pick(0, INT64_MAX)),
             pick(1, 1000), flip()};
    const std::int64_t kv_heads = pick(1, 8), heads = kv_heads * pick(1, 8);
    r.model = {"llama",
               pick(256, 100000),
               heads * 2 * pick(1, 64),
               pick(1, 10000),
               pick(1, 200),
               heads,
               kv_heads,
               real(1, 1e6),
               real(1e-9, 1e-2),
               real(1e-4, 0.5),
               flip(),
               flip() ? "fp32" : "fp16"};
    r.resources = {pick(1, 64),
                   pick(1, 8),
                   pick(0, 64),
                   flip() ? 0 : real(0, 1000),
                   flip() ? "auto" : "gpu",
                   flip() ? "gpu:" + std::to_string(pick(1, 8)) : "",
                   std::chrono::minutes(flip() ? 0 : pick(1, 100000))};
    const std::int64_t batch = r.resources.nodes * r.resources.workers_per_node + pick(0, 1000);
    r.data = {"/data/" + word() + "/" + std::string(random_() % 3000, 'd'), "bytes", pick(1, 8192), batch,
              pick(1, batch)};
    const double rate = real(1e-6, 1);
    r.optim = {rate,
               rate * real(0, 1),
               {real(0, 0.999), real(0, 0.999)},
               real(1e-12, 1e-3),
               real(0, 1),
               real(0, 10),
               flip() ? "cosine" : "linear",
               pick(0, r.run.steps),
               0,
               real(1, 65536),
               real(1, 16),
               real(0.01, 0.9),
               pick(1, 9999)};
    r.parallel = {flip() ? "none" : "zero1", 0, flip(), flip()};
    r.topology.measure = flip() ? "auto" : "no";
    const std::int64_t lead = pick(1'000, 1'800'000);
    r.checkpoint = {pick(0, 1000), pick(1, 10), std::chrono::milliseconds(lead),
                    std::chrono::milliseconds(lead + pick(0, 1'800'000)), real(1, 100)};
    const std::int64_t beat = pick(17, 60000);
    r.resilience = {std::chrono::milliseconds(beat), std::chrono::milliseconds(beat * 3 + pick(0, 1000)),
                    std::chrono::seconds(pick(1, 3600)), std::chrono::seconds(pick(1, 3600)), pick(0, 10)};
    return r;
  }

 private:
  std::int64_t pick(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random_);
  }
  double real(double low, double high) { return std::uniform_real_distribution<double>(low, high)(random_); }
  bool flip() { return random_() % 2 == 0; }
  std::string word() { return std::to_string(random_()) + "\xC3\xA9"; }
  std::mt19937_64 random_;
};

TEST(Freeze, RandomRecipesComeBackExactly) {
  RandomRecipe random(42);
  for (int round = 0; round < 300; ++round) {
    Recipe recipe = random.make();
    recipe.name = "r" + std::to_string(round);
    const std::string text = freeze(recipe);
    const Recipe back = parse_frozen(text, "x");
    EXPECT_EQ(freeze(back), text);
    EXPECT_EQ(back.optim.betas, recipe.optim.betas);
    EXPECT_EQ(back.optim.min_learning_rate, recipe.optim.min_learning_rate);
    EXPECT_EQ(back.run.seed, recipe.run.seed);
    EXPECT_EQ(back.data.path, recipe.data.path);
    EXPECT_EQ(back.description, recipe.description);
    EXPECT_EQ(back.resilience.heartbeat_timeout, recipe.resilience.heartbeat_timeout);
    EXPECT_EQ(back.resources.time_limit, recipe.resources.time_limit);
  }
}

// freeze must see each key: two recipes that differ in one key have different texts.
TEST(Freeze, DependsOnEveryKey) {
  RandomRecipe random(1);
  Recipe a = random.make(), b = random.make();
  a.name = "a";
  b.name = "b";
  for (const Key& key : keys()) {
    if (key.get(a) == key.get(b)) continue;
    Recipe changed = a;
    key.set(changed, key.get(b));
    EXPECT_NE(freeze(changed), freeze(a)) << key.full_name();
    for (const Key& other : keys()) {
      if (other.full_name() == key.full_name()) continue;
      EXPECT_EQ(other.get(changed), other.get(a)) << key.full_name() << " changes " << other.full_name();
    }
  }
}

TEST(Hash, IsEightHexDigitsOfTheText) {
  EXPECT_THAT(hash("a"), testing::MatchesRegex("[0-9a-f]{8}"));
  EXPECT_EQ(hash("a"), hash("a"));
  EXPECT_NE(hash("a"), hash("b"));
  // XXH3-64 of the empty text is 2d06800538d394c2.
  EXPECT_EQ(hash(""), "38d394c2");
}

}  // namespace
}  // namespace stint::recipes
