// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/final_error.h"
#include "base/ini.h"
#include "base/run_directory.h"
#include "trainer/engine/buffer.h"
#include "trainer/engine/safetensors.h"
#include "trainer/engine/tensor_index.h"

namespace stint::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t kMostFloats = std::size_t{1} << 30;  // of a file
constexpr std::size_t kMaxManifest = 16 << 20;
constexpr char kTensors[] = ".safetensors";

// Neighbouring units, until a file has its share.
std::vector<std::vector<std::size_t>> divide(const model::Layout& layout, std::size_t files) {
  const auto& units = layout.units();
  const std::size_t share =
      std::min(kMostFloats, (layout.floats() + files - 1) / std::max<std::size_t>(files, 1));
  std::vector<std::vector<std::size_t>> result;
  std::size_t floats = 0;
  for (std::size_t unit = 0; unit < units.size(); ++unit) {
    const bool must_end = floats > 0 && floats + units[unit].size() > kMostFloats;
    const bool has_its_share = floats >= share;
    const bool one_for_each = result.size() + units.size() - unit <= files;  // else some would get none
    if (result.empty() || must_end || has_its_share || one_for_each) {
      result.emplace_back();
      floats = 0;
    }
    result.back().push_back(unit);
    floats += units[unit].size();
  }
  return result;
}

bool is_in(const model::Unit& unit, const model::Parameter& p) {
  return p.offset >= unit.begin && p.offset < unit.end;
}

TensorIndex index_of(const fs::path& checkpoint) {
  const auto manifest =
      json::parse(read_file((checkpoint / "manifest.json").string(), kMaxManifest), nullptr, false);
  if (!manifest.is_object() || !manifest.contains("files") || !manifest["files"].is_object())
    fail("{}: manifest.json is damaged", checkpoint.string());
  TensorIndex index;
  for (const auto& [name, digest] : manifest["files"].items())
    if (name.ends_with(kTensors)) index.add(checkpoint / name);
  return index;
}

}  // namespace

WeightsFolder::WeightsFolder(fs::path checkpoint, fs::path target, const model::Layout& layout,
                             std::size_t files)
    : checkpoint_(std::move(checkpoint)),
      target_(std::move(target)),
      layout_(layout),
      units_(divide(layout, files)) {}

bool WeightsFolder::exists() const {
  std::error_code error;
  return fs::exists(target_, error);
}

fs::path WeightsFolder::hidden() const {
  return target_.parent_path() / (".tmp-" + target_.filename().string());
}

std::string WeightsFolder::name_of(std::size_t file) const {
  if (units_.size() == 1) return std::string("model") + kTensors;
  return fmt::format("model-{:05}-of-{:05}{}", file + 1, units_.size(), kTensors);
}

void WeightsFolder::begin() const {
  std::error_code error;
  fs::remove_all(hidden(), error);
  if (!error) fs::create_directory(hidden(), error);
  if (error) fail_write("cannot create " + hidden().string(), error.value(), kOtherRunDirectory);
}

void WeightsFolder::write(std::size_t file) const {
  const TensorIndex index = index_of(checkpoint_);
  index.check(layout_, "");
  std::vector<Piece> pieces;
  std::size_t floats = 0;
  for (const std::size_t unit : units_.at(file)) {
    const auto& [begin, end] = layout_.units()[unit];
    pieces.push_back({begin, end - begin, floats});
    floats += end - begin;
  }
  Buffer memory(floats);
  index.read(layout_, pieces, "", memory);
  std::vector<TensorView> tensors;
  for (std::size_t i = 0; i < pieces.size(); ++i)
    for (const auto& p : layout_.parameters())
      if (is_in(layout_.units()[units_[file][i]], p))
        tensors.push_back(
            {p.name, p.shape, memory.span().subspan(pieces[i].held + (p.offset - pieces[i].flat), p.count)});
  write_safetensors(hidden() / name_of(file), tensors);
}

void WeightsFolder::finish(const model::Config& config, std::int64_t sequence_length) const {
  json map = json::object();
  for (std::size_t file = 0; file < units_.size(); ++file)
    for (const std::size_t unit : units_[file])
      for (const auto& p : layout_.parameters())
        if (is_in(layout_.units()[unit], p)) map[p.name] = name_of(file);
  const json index = {
      {"metadata", {{"total_size", layout_.parameter_count() * static_cast<std::int64_t>(sizeof(float))}}},
      {"weight_map", std::move(map)}};
  if (units_.size() > 1) write_bytes(hidden() / "model.safetensors.index.json", index.dump(2) + "\n");
  write_bytes(hidden() / "config.json", model::huggingface_config(config, sequence_length).dump(2) + "\n");
  std::error_code error;
  fs::rename(hidden(), target_, error);
  if (error) fail_write("cannot rename " + hidden().string(), error.value(), kOtherRunDirectory);
}

void WeightsFolder::abandon() const {
  std::error_code ignored;
  fs::remove_all(hidden(), ignored);
}

}  // namespace stint::engine
