// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <functional>

#include "base/error.h"
#include "base/ini.h"
#include "tiny.h"
#include "trainer/engine/safetensors.h"
#include "trainer/model/llama.h"
#include "trainer/model/random.h"

namespace stint::engine {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

struct Fixture {
  TemporaryFolder folder;
  model::Config config = model::config_of(tiny_recipe(""));
  model::Layout layout{config};
  CheckpointStore store{folder.run().checkpoints(), config, layout, 32};
  State state = empty();

  Fixture() { store.prepare(); }
  State empty() const {
    return {0, Buffer(layout.floats()), Buffer(layout.floats()), Buffer(layout.floats())};
  }
  CheckpointStore::Saved save(std::int64_t step, std::int64_t keep = 9) {
    state.step = step;
    for (const auto& p : layout.parameters()) {
      fill(state.parameters, p, "p", step);
      fill(state.exp_avg, p, "m", step);
      fill(state.exp_avg_sq, p, "v", step);
    }
    return store.save(state, {{"loss", 1.5}}, keep);
  }
  void fill(Buffer& buffer, const model::Parameter& p, const std::string& kind, std::int64_t step) {
    model::fill_normal(buffer.span().subspan(p.offset, p.count), static_cast<std::uint64_t>(step),
                       kind + p.name, 1);
  }
  fs::path path(const std::string& step) const { return folder.run().checkpoints() / ("step-" + step); }
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const auto& entry : fs::directory_iterator(folder.run().checkpoints()))
      result.push_back(entry.path().filename());
    std::sort(result.begin(), result.end());
    return result;
  }
};

bool equal(const Buffer& a, const Buffer& b) {
  return std::equal(a.span().begin(), a.span().end(), b.span().begin(), b.span().end());
}

TEST(Checkpoint, NewestIsLoadedBitForBit) {
  Fixture f;
  f.save(4);
  const auto saved = f.save(8);
  EXPECT_EQ(saved.folder, f.path("00000008"));
  EXPECT_GT(saved.bytes, f.layout.floats() * 12);
  State loaded = f.empty();
  const auto result = f.store.load_newest(loaded);
  ASSERT_TRUE(result.manifest);
  EXPECT_TRUE(result.skipped.empty());
  EXPECT_EQ(result.manifest->at("loss"), 1.5);
  EXPECT_EQ(loaded.step, 8);
  EXPECT_TRUE(equal(loaded.parameters, f.state.parameters));
  EXPECT_TRUE(equal(loaded.exp_avg, f.state.exp_avg));
  EXPECT_TRUE(equal(loaded.exp_avg_sq, f.state.exp_avg_sq));
}

TEST(Checkpoint, HoldsWhatHuggingFaceReads) {
  Fixture f;
  f.save(1);
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(f.path("00000001")))
    files.push_back(entry.path().filename());
  EXPECT_THAT(files, testing::UnorderedElementsAre("model.safetensors", "optimizer.safetensors",
                                                   "config.json", "manifest.json"));
  const SafetensorsReader weights(f.path("00000001") / "model.safetensors");
  EXPECT_EQ(weights.entries().size(), f.layout.parameters().size());
  EXPECT_NO_THROW(weights.check("model.layers.1.self_attn.q_proj.weight", {32, 32}));
}

TEST(Checkpoint, KeepsTheNewestOnly) {
  Fixture f;
  for (int step = 1; step <= 5; ++step) f.save(step, 2);
  EXPECT_THAT(f.names(), ElementsAre("step-00000004", "step-00000005"));
}

TEST(Checkpoint, SameStepIsReplaced) {
  Fixture f;
  f.save(4);
  write_text(f.path("00000004") / "model.safetensors", "damage");
  f.save(4);
  State loaded = f.empty();
  EXPECT_TRUE(f.store.load_newest(loaded).manifest);
  EXPECT_THAT(f.names(), ElementsAre("step-00000004"));
}

TEST(Checkpoint, LeftoversOfAnInterruptedSaveAreRemovedAndForeignNamesIgnored) {
  Fixture f;
  fs::create_directories(f.folder.run().checkpoints() / ".tmp-step-00000009");
  fs::create_directories(f.folder.run().checkpoints() / "step-x");
  fs::create_directories(f.folder.run().checkpoints() / "step-9");
  f.save(4);
  f.store.prepare();
  EXPECT_THAT(f.names(), ElementsAre("step-00000004", "step-9", "step-x"));
  State loaded = f.empty();
  const auto result = f.store.load_newest(loaded);
  EXPECT_EQ(loaded.step, 4);
  EXPECT_TRUE(result.skipped.empty());
}

TEST(Checkpoint, NoneAtAllIsNoError) {
  Fixture f;
  State loaded = f.empty();
  const auto result = f.store.load_newest(loaded);
  EXPECT_FALSE(result.manifest);
  EXPECT_TRUE(result.skipped.empty());
}

struct Damage {
  const char* name;
  const char* cause;
  std::function<void(const fs::path&)> act;
};

void flip_byte(const fs::path& path, std::streamoff from_end) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(-from_end, std::ios::end);
  const int byte = file.get();
  file.seekp(-from_end, std::ios::end);
  file.put(static_cast<char>(byte ^ 1));
}

void edit_manifest(const fs::path& folder, const std::function<void(nlohmann::json&)>& edit) {
  auto manifest = nlohmann::json::parse(read_file((folder / "manifest.json").string(), 1 << 20));
  edit(manifest);
  write_text(folder / "manifest.json", manifest.dump());
}

class CheckpointDamage : public testing::TestWithParam<Damage> {};

INSTANTIATE_TEST_SUITE_P(
    Kinds, CheckpointDamage,
    testing::Values(
        Damage{"FlippedWeightBit", "model.safetensors is damaged",
               [](const fs::path& p) { flip_byte(p / "model.safetensors", 100); }},
        Damage{"FlippedMomentBit", "optimizer.safetensors is damaged",
               [](const fs::path& p) { flip_byte(p / "optimizer.safetensors", 1); }},
        Damage{"Truncated", "its manifest says",
               [](const fs::path& p) { fs::resize_file(p / "optimizer.safetensors", 1000); }},
        Damage{"EmptyFile", "has 0 bytes",
               [](const fs::path& p) { fs::resize_file(p / "model.safetensors", 0); }},
        Damage{"NoWeights", "No such file", [](const fs::path& p) { fs::remove(p / "model.safetensors"); }},
        Damage{"NoManifest", "manifest.json", [](const fs::path& p) { fs::remove(p / "manifest.json"); }},
        Damage{"BinaryManifest", "manifest.json",
               [](const fs::path& p) { write_text(p / "manifest.json", std::string(99, '\0')); }},
        Damage{"TornManifest", "manifest.json is no JSON object",
               [](const fs::path& p) { fs::resize_file(p / "manifest.json", 40); }},
        Damage{"ForeignStep", "is of step 7",
               [](const fs::path& p) { edit_manifest(p, [](auto& m) { m["step"] = 7; }); }},
        Damage{"OtherModel", "another model: it has hidden_size 64, the recipe's is 32",
               [](const fs::path& p) { edit_manifest(p, [](auto& m) { m["model"]["hidden_size"] = 64; }); }},
        Damage{"LossInWords", "loss is no number",
               [](const fs::path& p) { edit_manifest(p, [](auto& m) { m["loss"] = "low"; }); }},
        Damage{"DataInWords", "data has no size in bytes",
               [](const fs::path& p) { edit_manifest(p, [](auto& m) { m["data"] = "book.txt"; }); }},
        Damage{"NoFileTable", "manifest.json is damaged",
               [](const fs::path& p) { edit_manifest(p, [](auto& m) { m.erase("files"); }); }},
        Damage{"FilesInsteadOfFolder", "manifest.json",
               [](const fs::path& p) {
                 fs::remove_all(p);
                 write_text(p, "not a folder");
               }}),
    [](const auto& info) { return info.param.name; });

TEST_P(CheckpointDamage, IsPassedOverForTheOneBefore) {
  Fixture f;
  f.save(4);
  f.save(8);
  GetParam().act(f.path("00000008"));
  State loaded = f.empty();
  const auto result = f.store.load_newest(loaded);
  EXPECT_EQ(loaded.step, 4);
  ASSERT_EQ(result.skipped.size(), 1);
  EXPECT_THAT(result.skipped[0], HasSubstr("step-00000008: "));
  EXPECT_THAT(result.skipped[0], HasSubstr(GetParam().cause));
}

TEST(Checkpoint, RightHashOverWrongTensorsIsStillRefused) {
  Fixture f;
  f.save(8);
  const auto file = f.path("00000008") / "model.safetensors";
  fs::remove(file);
  const std::vector<float> values(4);
  const auto digest = write_safetensors(file, {{"model.embed_tokens.weight", {2, 2}, values}});
  edit_manifest(f.path("00000008"), [&](auto& m) {
    m["files"]["model.safetensors"] = {{"bytes", digest.bytes}, {"xxh3_128", digest.xxh3_128}};
  });
  State loaded = f.empty();
  const auto result = f.store.load_newest(loaded);
  EXPECT_FALSE(result.manifest);
  EXPECT_THAT(result.skipped, ElementsAre(HasSubstr("has shape [2, 2], the recipe's model [256, 32]")));
}

TEST(Checkpoint, FailedSaveLeavesTheOldOnesAndNothingElse) {
  Fixture f;
  f.save(4);
  // A file where the temporary folder would have to stand, in a folder that cannot be changed: as root the
  // permission would not hold, so the name itself is made impossible.
  CheckpointStore broken(f.path("00000004") / "manifest.json", f.config, f.layout, 32);
  EXPECT_THAT([&] { broken.save(f.state, {}, 1); },
              testing::ThrowsMessage<Error>(HasSubstr("checkpoint of step 4 (")));
  EXPECT_THAT(f.names(), ElementsAre("step-00000004"));
  State loaded = f.empty();
  EXPECT_TRUE(f.store.load_newest(loaded).manifest);
}

// As when its writer is killed: the shard is written, or half of it, and no manifest.
TEST(Checkpoint, OneThatWasNotFinishedIsNone) {
  Fixture f;
  f.save(4);
  f.state.step = 8;
  f.store.write_shard(*f.store.freeze(f.state));
  fs::resize_file(f.folder.run().checkpoints() / ".tmp-step-00000008" / "optimizer.safetensors", 5000);
  State loaded = f.empty();
  const auto result = f.store.load_newest(loaded);
  EXPECT_EQ(loaded.step, 4);
  EXPECT_TRUE(result.skipped.empty());
  f.store.prepare();
  EXPECT_THAT(f.names(), ElementsAre("step-00000004"));
}

TEST(Checkpoint, FolderThatCannotBeIsNamed) {
  Fixture f;
  const CheckpointStore store("/proc/nothing/checkpoints", f.config, f.layout, 32);
  EXPECT_THAT([&] { store.prepare(); },
              testing::ThrowsMessage<Error>(HasSubstr("cannot create /proc/nothing/checkpoints")));
}

}  // namespace
}  // namespace stint::engine
