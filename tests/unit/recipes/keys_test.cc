// SPDX-License-Identifier: Apache-2.0
#include "recipes/keys.h"

#include <gmock/gmock.h>

#include <set>

#include "base/error.h"
#include "tests/unit/base/temporary.h"

namespace stint::recipes {
namespace {

TEST(Keys, EveryRowIsCompleteAndUnique) {
  std::set<std::string> names;
  std::string section;
  std::set<std::string> closed;
  for (const Key& key : keys()) {
    EXPECT_TRUE(names.insert(key.full_name()).second) << key.full_name();
    EXPECT_FALSE(key.info.help.empty()) << key.full_name();
    EXPECT_FALSE(key.info.type.empty()) << key.full_name();
    if (key.info.section != section) {
      EXPECT_TRUE(closed.insert(key.info.section).second) << "section " << key.info.section << " is split";
      section = key.info.section;
    }
  }
  EXPECT_EQ(key_table().size(), keys().size());
}

TEST(Keys, DefaultsAreValidAndCanonical) {
  for (const Key& key : keys()) {
    if (key.info.required || key.full_name() == "recipe.name") continue;
    Recipe recipe;
    key.set(recipe, key.info.default_value);
    EXPECT_EQ(key.get(recipe), key.info.default_value) << key.full_name();
  }
}

TEST(Keys, OnlyTheDataPathIsGivenAtSubmit) {
  for (const KeyInfo& key : key_table())
    EXPECT_EQ(key.given_at_submit, key.section + key.key == "datapath") << key.key;
}

TEST(Keys, RefusesValuesOfAnotherKind) {
  const std::vector<std::pair<const char*, std::vector<const char*>>> cases = {
      {"run.steps", {"", "0", "1.5", "1e3", "-1", "1000000001", "ten"}},
      {"run.seed", {"-1", "9223372036854775808"}},
      {"run.tensorboard", {"", "ja", "2"}},
      {"run.directory",
       {"", "a/%x", "a%", "a\tb",
        "a\xC2\x85"
        "b",
        "a\xE2\x80\xA8"
        "b"}},
      {"model.rope_theta", {"0", "nan", "inf", "1e10"}},
      {"optim.betas", {"", "0.9", "0.9,0.95,0.99", "0.9,1", "0.9,", "-0.1,0.5", "a,b"}},
      {"optim.schedule", {"", "quadratic"}},
      {"parallel.sharding", {"", "zero", "zero4", "yes"}},
      {"topology.measure", {"", "maybe", "1"}},
      {"parallel.shard_degree", {"-1", "x"}},
      {"resilience.heartbeat_interval", {"", "100", "1ms", "61s", "0s", "-1s", "ms", "1x", "1h30"}},
      {"resilience.collective_timeout", {"1500ms", "500ms", "25h", "60"}},
      {"resources.device", {"", "cuda", "gpus"}},
      {"resources.gres", {"gpu 8", "gpu:8,", ",", "gpu:8;x", "gpu=8"}},
      {"resources.time_limit", {"", "-1", "0s", "later", "3651d"}},
      {"recipe.name", {"", "a b", "a@b", "-a", "a/b"}},
  };
  for (const auto& [name, values] : cases) {
    const std::string_view full(name);
    const Key& key = find_key(full.substr(0, full.find('.')), full.substr(full.find('.') + 1));
    for (const char* value : values) {
      Recipe recipe;
      EXPECT_NE(error_of([&] { key.set(recipe, value); }), "no error") << name << " = " << value;
    }
  }
}

TEST(Keys, DurationsAreWrittenInTheirShortestForm) {
  const auto canonical = [](const char* section, const char* name, const char* value) {
    Recipe recipe;
    find_key(section, name).set(recipe, value);
    return find_key(section, name).get(recipe);
  };
  EXPECT_EQ(canonical("resilience", "heartbeat_interval", "1000ms"), "1s");
  EXPECT_EQ(canonical("resilience", "heartbeat_interval", "250ms"), "250ms");
  EXPECT_EQ(canonical("resilience", "startup_timeout", "5m"), "300s");
  EXPECT_EQ(canonical("resources", "time_limit", "90"), "90m");
  EXPECT_EQ(canonical("resources", "time_limit", "61s"), "2m");
  EXPECT_EQ(canonical("resources", "time_limit", "1-00:00:00"), "1440m");
}

}  // namespace
}  // namespace stint::recipes
