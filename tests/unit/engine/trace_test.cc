// SPDX-License-Identifier: Apache-2.0
// What the ranks of a training record of their steps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "world.h"

namespace stint::engine {
namespace {

using nlohmann::json;
using testing::IsSupersetOf;
using testing::SizeIs;

struct Kind {
  const char* sharding;
  int size, degree;
  bool overlap;
};

class Trace : public testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(Kinds, Trace,
                         testing::Values(Kind{"none", 1, 0, true}, Kind{"none", 2, 0, true},
                                         Kind{"zero1", 2, 0, false}, Kind{"zero2", 3, 0, true},
                                         Kind{"zero3", 2, 0, true}, Kind{"hybrid", 4, 2, true}),
                         [](const auto& info) {
                           return info.param.sharding + std::to_string(info.param.size) +
                                  (info.param.overlap ? "" : "on_top");
                         });

struct Traced {
  std::vector<json> parts;     // by rank
  std::vector<double> losses;  // of rank 0
};

// Two of six steps, the last of which ends with a checkpoint.
Traced train_and_trace(recipes::Recipe recipe, int size, bool traces) {
  const TemporaryFolder folder;
  recipe.data.path = write_text(folder.path / "text", sample_text());
  Traced traced;
  traced.parts.resize(static_cast<std::size_t>(size));
  in_world(size, [&](comm::Communicator& communicator) {
    Engine engine(recipe, folder.run(), communicator, {});
    ASSERT_TRUE(engine.start());
    const auto rank = static_cast<std::size_t>(communicator.rank());
    for (int step = 1; step <= 6; ++step) {
      if (const auto trace = engine.take_trace()) traced.parts[rank] = trace->part;
      if (traces && step == 3 && rank == 0) engine.ask_for_trace(77, 2);
      StepReport report;
      ASSERT_TRUE(engine.step(false, report));
      if (rank == 0) traced.losses.push_back(report.loss);
      if (step == 5) save(engine);
    }
    ASSERT_FALSE(engine.take_trace(true)) << "it had ended";
    ASSERT_TRUE(engine.barrier());
  });
  return traced;
}

TEST_P(Trace, HasEveryUnitEveryCollectiveAndNothingOfOtherSteps) {
  auto recipe = tiny_recipe("");
  recipe.parallel.sharding = GetParam().sharding;
  recipe.parallel.shard_degree = GetParam().degree;
  recipe.parallel.overlap = GetParam().overlap;
  const auto traced = train_and_trace(recipe, GetParam().size, true);
  std::map<std::int64_t, std::set<std::string>> collectives;  // by sequence, over all ranks
  std::map<std::int64_t, int> ranks;
  for (const json& part : traced.parts) {
    ASSERT_TRUE(part.is_object()) << "every rank has its part";
    EXPECT_EQ(part.at("first_step"), 4);
    EXPECT_EQ(part.at("steps"), 2);
    EXPECT_LE(std::abs(part.at("clock_offset_us").get<double>()), part.at("clock_error_us").get<double>())
        << "the ranks of this test have one clock";
    std::set<std::string> names;
    std::map<int, double> end;  // of what came last, by row
    int steps = 0;
    for (const json& event : part.at("events")) {
      names.insert(event.at("name"));
      steps += event.at("name") == "step" ? 1 : 0;
      EXPECT_GE(event.at("dur"), 0);
      if (!event.at("args").contains("sequence")) continue;
      EXPECT_GE(event.at("ts").get<double>(), end[1]) << "collectives come one after the other";
      end[1] = event.at("ts").get<double>() + event.at("dur").get<double>();
      EXPECT_GT(event.at("args").at("bytes"), 0);
      const auto sequence = event.at("args").at("sequence").get<std::int64_t>();
      collectives[sequence].insert(event.at("name").get<std::string>());
      ++ranks[sequence];
    }
    EXPECT_EQ(steps, 2);
    EXPECT_THAT(names,
                IsSupersetOf({"step", "data", "forward embedding", "forward layer 0", "forward layer 1",
                              "forward and backward head", "backward layer 1", "backward layer 0",
                              "backward embedding", "gradient norm", "optimiser", "checkpoint"}));
  }
  for (const auto& [sequence, names] : collectives)
    EXPECT_THAT(names, SizeIs(1)) << "ranks disagree on collective " << sequence;
  int complete = 0;
  for (const auto& [sequence, count] : ranks) complete += count == GetParam().size ? 1 : 0;
  EXPECT_GE(complete, GetParam().size == 1 ? 2 : 10);
}

TEST(TraceOfARun, ChangesNoBit) {
  auto recipe = tiny_recipe("");
  recipe.parallel.sharding = "zero3";
  EXPECT_EQ(train_and_trace(recipe, 2, true).losses, train_and_trace(recipe, 2, false).losses);
}

TEST(TraceOfARun, OfARunThatEndsHasTheStepsThatThereWere) {
  const TemporaryFolder folder;
  auto recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  in_world(1, [&](comm::Communicator& communicator) {
    Engine engine(recipe, folder.run(), communicator, {});
    ASSERT_TRUE(engine.start());
    engine.ask_for_trace(1, 100);
    StepReport report;
    for (int step = 0; step < 3; ++step) ASSERT_TRUE(engine.step(false, report));
    EXPECT_FALSE(engine.take_trace());
    EXPECT_TRUE(engine.has_trace());
    const auto trace = engine.take_trace(true);
    ASSERT_TRUE(trace);
    EXPECT_EQ(trace->id, 1);
    EXPECT_EQ(trace->part.at("first_step"), 2);
    EXPECT_EQ(trace->part.at("steps"), 2);
    EXPECT_FALSE(engine.has_trace());
  });
}

}  // namespace
}  // namespace stint::engine
