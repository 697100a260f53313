// SPDX-License-Identifier: Apache-2.0
// The folder of final weights; that others can read it is tested in tests/unit/huggingface.
#include "trainer/engine/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/ini.h"
#include "trainer/engine/safetensors.h"
#include "world.h"

namespace stint::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing::IsEmpty;

std::map<std::string, std::vector<float>> read_weights(const fs::path& folder) {
  std::map<std::string, std::vector<float>> all;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".safetensors") continue;
    const SafetensorsReader file(entry.path());
    for (const auto& [name, tensor] : file.entries()) {
      EXPECT_FALSE(tensor.piece_of) << name;
      auto& values = all[name];
      EXPECT_THAT(values, IsEmpty()) << name << " is in two files";
      values.resize((tensor.end - tensor.begin) / sizeof(float));
      file.read(name, 0, values);
    }
  }
  return all;
}

struct Kind {
  const char* sharding;
  int size;
  bool tied;
};
class Weights : public testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(Kinds, Weights,
                         testing::Values(Kind{"none", 1, false}, Kind{"none", 2, true},
                                         Kind{"zero1", 3, false}, Kind{"zero3", 2, true},
                                         Kind{"zero3", 6, false}),
                         [](const auto& info) {
                           return info.param.sharding + std::to_string(info.param.size) +
                                  (info.param.tied ? "tied" : "");
                         });

TEST_P(Weights, AreThoseOfTheStateWholeAndOnce) {
  const TemporaryFolder folder;
  auto recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  recipe.parallel.sharding = GetParam().sharding;
  recipe.model.tie_word_embeddings = GetParam().tied;
  std::map<std::string, std::vector<float>> expected;
  in_world(GetParam().size, [&](comm::Communicator& communicator) {
    Engine engine(recipe, folder.run(), communicator, {});
    ASSERT_TRUE(engine.start());
    StepReport report;
    for (int i = 0; i < 2; ++i) ASSERT_TRUE(engine.step(false, report));
    save(engine);
    ASSERT_TRUE(engine.barrier());
    std::string problem;
    ASSERT_TRUE(engine.write_weights(folder.run().weights(), problem));
    EXPECT_EQ(problem, "");
    if (communicator.rank() != 0 || engine.state().parameters.span().size() != engine.layout().floats())
      return;
    for (const auto& p : engine.layout().parameters()) {
      const auto values = engine.state().parameters.span().subspan(p.offset, p.count);
      expected[p.name] = {values.begin(), values.end()};
    }
  });
  const auto found = read_weights(folder.run().weights());
  EXPECT_EQ(found.size(), GetParam().tied ? 20 : 21);
  if (!expected.empty()) {
    EXPECT_EQ(found, expected);
  }
  const auto files = static_cast<std::ptrdiff_t>(
      std::count_if(fs::directory_iterator(folder.run().weights()), fs::directory_iterator(),
                    [](const auto& entry) { return entry.path().extension() == ".safetensors"; }));
  EXPECT_EQ(files, std::min(GetParam().size, GetParam().tied ? 3 : 4)) << "one a rank, of whole units";
  EXPECT_FALSE(fs::exists(folder.path / ".tmp-model"));
}

TEST(WeightsFolder, ThatIsThereIsLeftAlone) {
  const TemporaryFolder folder;
  const auto recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  fs::create_directory(folder.run().weights());
  in_world(2, [&](comm::Communicator& communicator) {
    Engine engine(recipe, folder.run(), communicator, {});
    ASSERT_TRUE(engine.start());
    std::string problem;
    ASSERT_TRUE(engine.write_weights(folder.run().weights(), problem));
    EXPECT_EQ(problem, "");
  });
  EXPECT_TRUE(fs::is_empty(folder.run().weights()));
}

TEST(WeightsFolder, WithoutItsCheckpointIsAProblemAndNoFailure) {
  const TemporaryFolder folder;
  const auto recipe = tiny_recipe(write_text(folder.path / "text", sample_text()));
  in_world(2, [&](comm::Communicator& communicator) {
    Engine engine(recipe, folder.run(), communicator, {});
    ASSERT_TRUE(engine.start());
    std::string problem;
    ASSERT_TRUE(engine.write_weights(folder.run().weights(), problem));
    EXPECT_THAT(problem, HasSubstr("step-00000000"));
    ASSERT_TRUE(engine.barrier());
  });
  EXPECT_FALSE(fs::exists(folder.run().weights()));
  EXPECT_FALSE(fs::exists(folder.path / ".tmp-model"));
}

}  // namespace
}  // namespace stint::engine
