// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/checkpoint.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <functional>

#include "base/final_error.h"
#include "base/ini.h"
#include "base/run_directory.h"
#include "trainer/descriptor.h"
#include "trainer/engine/safetensors.h"
#include "trainer/engine/tensor_index.h"

namespace stint::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kFormat = 1;
constexpr char kModelFile[] = "model.safetensors";
constexpr char kOptimizerFile[] = "optimizer.safetensors";
constexpr char kTensors[] = ".safetensors";
constexpr char kParameters[] = "", kExpAvg[] = "exp_avg.", kExpAvgSq[] = "exp_avg_sq.";  // names begin so
constexpr char kConfigFile[] = "config.json";
constexpr char kManifestFile[] = "manifest.json";
constexpr char kTemporary[] = ".tmp-";
constexpr std::string_view kPrefix = "step-";
constexpr std::size_t kMaxJson = 16 << 20;
constexpr std::size_t kKeptPart = 4;  // of the state so much is copied at most; as recipes::memory() says

std::string name_of(std::int64_t step) {
  return fmt::format("{}{:08}", kPrefix, step);
}

std::optional<std::int64_t> step_of(const std::string& name) {
  std::int64_t step = 0;
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kPrefix.size(), end, step);
  if (error != std::errc() || stop != end || step < 0 || name != name_of(step)) return std::nullopt;
  return step;
}

struct Found {
  std::int64_t step;
  fs::path path;
};

std::vector<Found> newest_first(const fs::path& folder) {
  std::vector<Found> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (const auto step = step_of(entry.path().filename().string())) found.push_back({*step, entry.path()});
  if (error && error != std::errc::no_such_file_or_directory)
    fail("checkpoints: cannot list {}: {}", folder.string(), error.message());
  std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) { return a.step > b.step; });
  return found;
}

void sync_folder(const fs::path& folder) {
  const Descriptor file(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (file.get() < 0 || fsync(file.get()) != 0)
    fail_write("cannot sync " + folder.string(), errno, kOtherRunDirectory);
}

void rename_path(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error)
    fail_write(fmt::format("cannot rename {} to {}", from.string(), to.string()), error.value(),
               kOtherRunDirectory);
}

void create_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directory(folder, error);
  if (error) fail_write("cannot create " + folder.string(), error.value(), kOtherRunDirectory);
}

// A checkpoint loses its name before its files, so that no half of one can be taken for whole.
void remove_checkpoint(const fs::path& path) {
  const fs::path hidden = path.parent_path() / (kTemporary + std::string("old-") + path.filename().string());
  std::error_code ignored;
  fs::remove_all(hidden, ignored);
  rename_path(path, hidden);
  fs::remove_all(hidden, ignored);
}

json parse_file(const fs::path& path) {
  const auto value = json::parse(read_file(path.string(), kMaxJson), nullptr, false);
  if (!value.is_object()) fail("{} is no JSON object", path.filename().string());
  return value;
}

void check_digest(const fs::path& path, const json& expected) {
  const Digest found = digest_of(path);
  if (found.bytes != expected.at("bytes").get<std::uint64_t>())
    fail("{} has {} bytes, its manifest says {}", path.filename().string(), found.bytes,
         expected.at("bytes").get<std::uint64_t>());
  if (found.xxh3_128 != expected.at("xxh3_128").get<std::string>())
    fail("{} is damaged: its hash is not the manifest's", path.filename().string());
}

void check_model(const json& found, const json& wanted) {
  for (const auto& [key, value] : wanted.items()) {
    const auto it = found.find(key);
    const std::string theirs = it == found.end() ? "no " + key : key + " " + it->dump();
    if (it == found.end() || *it != value)
      fail("it is of another model: it has {}, the recipe's is {}", theirs, value.dump());
  }
}

// What the engine takes from a manifest must have its type before the checkpoint is taken.
void check_facts(const json& manifest) {
  if (manifest.contains("loss") && !manifest["loss"].is_number()) fail("manifest.json: loss is no number");
  if (!manifest.contains("data")) return;
  const json& data = manifest["data"];
  if (!data.is_object() || (data.contains("bytes") && !data["bytes"].is_number_unsigned()))
    fail("manifest.json: data has no size in bytes");
}

json to_json(const Digest& digest) {
  return {{"bytes", digest.bytes}, {"xxh3_128", digest.xxh3_128}};
}

std::vector<TensorView> views(const model::Layout& layout, const std::string& prefix,
                              std::span<const float> values) {
  std::vector<TensorView> result;
  for (const auto& p : layout.parameters())
    result.push_back({prefix + p.name, p.shape, values.subspan(p.offset, p.count)});
  return result;
}

std::vector<TensorView> joined(std::initializer_list<std::vector<TensorView>> groups) {
  std::vector<TensorView> all;
  for (const auto& group : groups) all.insert(all.end(), group.begin(), group.end());
  return all;
}

// What write_safetensors() will ask for.
std::vector<Snapshot::Part> blocks_of(const std::map<std::string, std::vector<TensorView>>& files) {
  std::vector<Snapshot::Part> blocks;
  for (const auto& [name, tensors] : files)
    for (const auto& t : tensors)
      for (std::size_t at = 0; at < t.data.size(); at += kBlockFloats)
        blocks.push_back(t.data.subspan(at, std::min(kBlockFloats, t.data.size() - at)));
  return blocks;
}

}  // namespace

CheckpointStore::CheckpointStore(fs::path folder, model::Config config, const model::Layout& layout,
                                 std::int64_t sequence_length)
    : CheckpointStore(std::move(folder), config, layout, sequence_length, Partition(layout, 1, 1, 0)) {}

CheckpointStore::CheckpointStore(fs::path folder, model::Config config, const model::Layout& layout,
                                 std::int64_t sequence_length, Partition partition)
    : folder_(std::move(folder)),
      config_(config),
      layout_(layout),
      sequence_length_(sequence_length),
      partition_(std::move(partition)) {}

fs::path CheckpointStore::path_of(std::int64_t step) const {
  return folder_ / name_of(step);
}

fs::path CheckpointStore::hidden_path_of(std::int64_t step) const {
  return folder_ / (kTemporary + name_of(step));
}

void CheckpointStore::prepare() const {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) fail("checkpoints: cannot create {}: {}", folder_.string(), error.message());
  if (access(folder_.c_str(), W_OK | X_OK) != 0)
    fail("checkpoints: cannot write in {}: {}", folder_.string(), errno_text(errno));
  for (const auto& entry : fs::directory_iterator(folder_, error))
    if (entry.path().filename().string().starts_with(kTemporary)) fs::remove_all(entry.path(), error);
}

json CheckpointStore::model_identity() const {
  auto identity = model::huggingface_config(config_, sequence_length_);
  identity.erase("max_position_embeddings");
  return identity;
}

// What fails in it leaves nothing half written, and says what it failed at.
template <typename Body>
auto CheckpointStore::explained(std::int64_t step, Body&& body) const {
  const auto what = [&](const std::exception& error) {
    const std::size_t bytes = 3 * sizeof(float) * partition_.shard_floats();
    return fmt::format("checkpoint of step {} ({} bytes): {}", step, bytes, error.what());
  };
  try {
    return body();
  } catch (const FinalError& error) {
    throw FinalError(what(error));
  } catch (const std::exception& error) {
    throw Error(what(error));
  }
}

CheckpointStore::Saved CheckpointStore::save(const State& state, const json& facts, std::int64_t keep) const {
  const auto start = std::chrono::steady_clock::now();
  try {
    const auto shard = freeze(state);
    auto saved = finish(state.step, write_shard(*shard), facts, keep);
    saved.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return saved;
  } catch (const std::exception&) {
    abandon(state.step);
    throw;
  }
}

void CheckpointStore::abandon(std::int64_t step) const {
  std::error_code ignored;
  fs::remove_all(hidden_path_of(step), ignored);
}

std::unique_ptr<FrozenShard> CheckpointStore::freeze(const State& state) const {
  const auto parameters = state.parameters.span(), first = state.exp_avg.span(),
             second = state.exp_avg_sq.span();
  std::map<std::string, std::vector<TensorView>> files;
  if (partition_.degree() == 1) {
    files[kModelFile] = views(layout_, kParameters, parameters);
    files[kOptimizerFile] = joined({views(layout_, kExpAvg, first), views(layout_, kExpAvgSq, second)});
  } else {
    const auto& pieces = partition_.shard_pieces();
    const auto name =
        fmt::format("shard-{:05}-of-{:05}{}", partition_.shard() + 1, partition_.degree(), kTensors);
    files[name] = joined({shard_views(layout_, pieces, kParameters, parameters),
                          shard_views(layout_, pieces, kExpAvg, first),
                          shard_views(layout_, pieces, kExpAvgSq, second)});
  }
  auto blocks = blocks_of(files);
  return std::unique_ptr<FrozenShard>(new FrozenShard{
      state.step, std::move(files),
      Snapshot(std::move(blocks), 3 * partition_.shard_floats() / kKeptPart, state.parameters.device())});
}

json CheckpointStore::write_shard(FrozenShard& shard) const {
  const auto source = [&](std::span<const float> block) { return shard.snapshot.read(block); };
  const auto write = [&] {
    shard.snapshot.begin_reading();
    const fs::path folder = hidden_path_of(shard.step);
    create_folder(folder);
    json digests = json::object();
    for (const auto& [name, tensors] : shard.files)
      digests[name] = to_json(write_safetensors(folder / name, tensors, source));
    return digests;
  };
  try {
    return explained(shard.step, write);
  } catch (const std::exception&) {
    shard.snapshot.close();
    throw;
  }
}

CheckpointStore::Saved CheckpointStore::finish(std::int64_t step, const json& files, const json& facts,
                                               std::int64_t keep) const {
  const fs::path target = path_of(step), folder = hidden_path_of(step);
  explained(step, [&] {
    const auto config = model::huggingface_config(config_, sequence_length_).dump(2) + "\n";
    json manifest = facts;
    manifest["format"] = kFormat;
    manifest["step"] = step;
    manifest["time"] = unix_seconds();
    manifest["model"] = model_identity();
    manifest["parameters"] = layout_.parameter_count();
    manifest["tensors"] = layout_.parameters().size();
    manifest["files"] = files;
    manifest["files"][kConfigFile] = to_json(write_bytes(folder / kConfigFile, config));
    write_bytes(folder / kManifestFile, manifest.dump(2) + "\n");
    sync_folder(folder);
    if (fs::exists(target)) remove_checkpoint(target);
    rename_path(folder, target);
    sync_folder(folder_);
  });
  prune(step, keep);
  Saved saved{target, 0, 0};
  for (const auto& entry : fs::directory_iterator(target)) saved.bytes += entry.file_size();
  return saved;
}

std::vector<std::int64_t> CheckpointStore::steps() const {
  std::vector<std::int64_t> result;
  for (const auto& found : newest_first(folder_)) result.push_back(found.step);
  return result;
}

CheckpointStore::Loaded CheckpointStore::load_newest(State& state) const {
  Loaded result;
  for (const std::int64_t step : steps()) {
    try {
      result.manifest = load(step, state);
      return result;
    } catch (const std::exception& error) {
      result.skipped.emplace_back(error.what());
    }
  }
  return result;
}

json CheckpointStore::load(std::int64_t step, State& state) const {
  const fs::path folder = path_of(step);
  try {
    return read(folder, step, state);
  } catch (const json::exception&) {
    fail("checkpoint {}: manifest.json is damaged", folder.string());
  } catch (const std::exception& error) {
    fail("checkpoint {}: {}", folder.string(), error.what());
  }
}

json CheckpointStore::read(const fs::path& folder, std::int64_t step, State& state) const {
  const json manifest = parse_file(folder / kManifestFile);
  if (manifest.at("format") != kFormat)
    fail("manifest.json has format {}, not {}", manifest.at("format").dump(), kFormat);
  if (manifest.at("step") != step) fail("manifest.json is of step {}", manifest.at("step").dump());
  check_model(manifest.at("model"), model_identity());
  check_facts(manifest);
  TensorIndex index;
  int number = 0;
  for (const auto& [name, digest] : manifest.at("files").items()) {
    if (fs::path(name).filename() != name) fail("manifest.json names a file '{}'", name);
    if (number++ % partition_.degree() == partition_.shard()) check_digest(folder / name, digest);
    if (name.ends_with(kTensors)) index.add(folder / name);
  }
  const std::pair<const char*, Buffer*> kinds[] = {
      {kParameters, &state.parameters}, {kExpAvg, &state.exp_avg}, {kExpAvgSq, &state.exp_avg_sq}};
  for (const auto& [prefix, buffer] : kinds) index.check(layout_, prefix);
  for (const auto& [prefix, buffer] : kinds) index.read(layout_, partition_.shard_pieces(), prefix, *buffer);
  state.step = step;
  return manifest;
}

// Ones past `newest` were skipped when the run resumed; they count for nothing and are written again in time.
void CheckpointStore::prune(std::int64_t newest, std::int64_t keep) const {
  std::int64_t kept = 0;
  for (const auto& [step, path] : newest_first(folder_)) {
    if (step > newest) continue;
    if (++kept > std::max<std::int64_t>(1, keep)) remove_checkpoint(path);
  }
}

}  // namespace stint::engine
