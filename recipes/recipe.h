// SPDX-License-Identifier: Apache-2.0
// A recipe: one strict INI file that says everything about a run. This room knows the keys (one table: type,
// range, default, help), inheritance, overrides and the frozen form; nothing of Slurm, UCX or torch.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace stint::recipes {

struct Recipe {
  std::string name;         // file name without .ini, or [recipe] name
  std::string description;  // [recipe] description

  struct {
    std::string directory;   // [run] directory: of the run; %j job id, %n recipe name, %u user
    std::int64_t steps = 0;  // optimiser steps
    std::uint64_t seed = 0;
    std::int64_t log_interval = 0;  // steps between step events
    bool tensorboard = true;
  } run;
  struct {
    std::string architecture;  // llama
    std::int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, num_hidden_layers = 0;
    std::int64_t num_attention_heads = 0, num_key_value_heads = 0;
    double rope_theta = 0, rms_norm_eps = 0, initializer_range = 0;
    bool tie_word_embeddings = false;
    std::string precision;  // fp32 | bf16 | fp16 (of the matrix products; parameters, optimiser stay fp32)
  } model;
  struct {
    std::string path;       // text file
    std::string tokenizer;  // bytes
    std::int64_t sequence_length = 0;
    std::int64_t global_batch_size = 0;  // sequences a step, over all workers: the slots
    std::int64_t micro_batch_size = 0;   // sequences a forward pass
  } data;
  struct {
    double learning_rate = 0, min_learning_rate = 0;
    std::vector<double> betas;  // two
    double eps = 0, weight_decay = 0, grad_clip = 0;
    std::string schedule;  // constant | linear | cosine | warmup_stable_decay
    std::int64_t warmup_steps = 0;
    std::int64_t decay_steps = 0;  // at the end, with warmup_stable_decay
    // Of fp16: at first; times after so many steps without an overflow; times after one.
    double loss_scale = 0, loss_scale_growth = 0, loss_scale_backoff = 0;
    std::int64_t loss_scale_interval = 0;
  } optim;
  struct {
    std::string sharding;           // none | zero1 | zero2 | zero3 | hybrid
    std::int64_t shard_degree = 0;  // with hybrid; 0: the workers of a node
    bool overlap = true;
    bool activation_checkpointing = false;
  } parallel;
  struct {
    std::string measure;  // auto | yes | no: the nodes' distances, by small messages at the start
  } topology;
  struct {
    std::int64_t interval = 0;  // steps; 0: only at the end
    std::int64_t keep = 0;
    // Before the end of a plan's segment: the last save's time times safety, within these bounds.
    std::chrono::milliseconds end_lead_min{}, end_lead_max{};
    double end_lead_safety = 0;
  } checkpoint;
  struct {
    std::chrono::milliseconds heartbeat_interval{}, heartbeat_timeout{};
    std::chrono::seconds collective_timeout{}, startup_timeout{};
    std::int64_t max_restarts = 0;  // restarts without a new checkpoint before giving up
  } resilience;
  struct {
    std::int64_t nodes = 0;
    std::int64_t workers_per_node = 0;
    std::int64_t threads_per_worker = 0;  // 0: the cores of the worker's share
    double worker_tflops = 0;             // peak of a worker's device; 0: measured
    std::string device;                   // "auto", "cpu", "gpu"
    std::string gres;                     // per node, Slurm's form; empty: none
    std::chrono::minutes time_limit{};    // 0: the rest of the plan's segment
  } resources;
};

// Into how many parts so many workers cut the state.
std::int64_t shard_degree(const Recipe& recipe, std::int64_t workers);

// One row of the key table, for `stint recipe show --keys`, validation and documentation.
struct KeyInfo {
  std::string section, key, type, range, default_value, help;
  bool required = false;         // has no default
  bool given_at_submit = false;  // required, but a catalogue entry may leave it to the one who submits
};
const std::vector<KeyInfo>& key_table();

// Where named recipes are looked for: each folder in turn.
using SearchPath = std::vector<std::string>;
// $STINT_RECIPES (colon list), the configuration's path, the catalogue that lies beside this program or
// plugin
// (../share/stint/recipes; also in a build tree), the installed catalogue.
SearchPath default_search_path(const std::vector<std::string>& configured);

// spec: NAME or PATH.ini, then ",section.key=value" parts; a part without "section.key=" continues the
// value before it ("optim.betas=0.9,0.95"). Resolves `base =`, applies overrides, checks every value and the
// rules between keys. Throws Error: "llama.ini:14: unknown key 'learning_rte' in [optim]; did you mean
// 'learning_rate'?", and for overrides "--recipe: …".
// Paths within a recipe are kept as they are.
Recipe resolve(std::string_view spec, const SearchPath& path);

// The same with, for each "section.key", where its value comes from ("tiny-llama.ini:14", "--recipe",
// "default"). With allow_missing, keys that are given at submit may be missing; they have no origin and are
// empty.
struct Resolution {
  Recipe recipe;
  std::map<std::string, std::string> origins;
};
Resolution resolve_with_origins(std::string_view spec, const SearchPath& path, bool allow_missing);

// The complete text, every key with its value, no base: parse_frozen(freeze(r)) == r, and freeze is
// canonical (equal recipes give equal text).
std::string freeze(const Recipe& recipe);
// Throws Error on anything but a complete, valid recipe.
Recipe parse_frozen(std::string_view text, std::string name);

// Eight hex digits over the frozen text (xxh3).
std::string hash(std::string_view frozen);

struct CatalogueEntry {
  std::string name, description, path, error;  // error: why it does not resolve; empty when it does
};
// Every *.ini of the search path, by name; of one name the first folder's. Folders that are not there are
// passed over.
std::vector<CatalogueEntry> list(const SearchPath& path);

}  // namespace stint::recipes
