// SPDX-License-Identifier: Apache-2.0
// A folder that goes away with its owner, a text and a recipe small enough for a test.
#pragma once

#include <stdlib.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/run_directory.h"
#include "recipes/recipe.h"

namespace stint::engine {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "stint-engine-XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  RunDirectory run() const { return {path}; }
  std::filesystem::path path;
};

inline std::string write_text(const std::filesystem::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
  return path.string();
}

// A few thousand bytes with structure to learn.
inline std::string sample_text() {
  std::string text;
  for (int i = 0; text.size() < 6000; ++i) text += "the " + std::to_string(i * i % 97) + " stints of a day, ";
  return text;
}

inline recipes::Recipe tiny_recipe(const std::string& text_path) {
  recipes::Recipe r;
  r.name = "tiny";
  r.run.directory = "unused";
  r.run.steps = 12;
  r.run.seed = 11;
  r.run.log_interval = 1;
  r.run.tensorboard = true;
  r.model.architecture = "llama";
  r.model.vocab_size = 256;
  r.model.hidden_size = 32;
  r.model.intermediate_size = 48;
  r.model.num_hidden_layers = 2;
  r.model.num_attention_heads = 4;
  r.model.num_key_value_heads = 2;
  r.model.rope_theta = 10000;
  r.model.rms_norm_eps = 1e-5;
  r.model.initializer_range = 0.05;
  r.model.tie_word_embeddings = false;
  r.model.precision = "fp32";
  r.data.path = text_path;
  r.data.tokenizer = "bytes";
  r.data.sequence_length = 32;
  r.data.global_batch_size = 6;
  r.data.micro_batch_size = 2;
  r.optim.learning_rate = 1e-2;
  r.optim.min_learning_rate = 1e-3;
  r.optim.betas = {0.9, 0.95};
  r.optim.eps = 1e-8;
  r.optim.weight_decay = 0.1;
  r.optim.grad_clip = 1.0;
  r.optim.schedule = "cosine";
  r.optim.warmup_steps = 3;
  r.optim.loss_scale = 65536;
  r.optim.loss_scale_growth = 2;
  r.optim.loss_scale_backoff = 0.5;
  r.optim.loss_scale_interval = 2000;
  r.parallel.sharding = "none";
  r.topology.measure = "auto";
  r.checkpoint.interval = 4;
  r.checkpoint.keep = 2;
  r.checkpoint.end_lead_min = std::chrono::seconds{10};
  r.checkpoint.end_lead_max = std::chrono::seconds{600};
  r.checkpoint.end_lead_safety = 2;
  r.resilience.heartbeat_interval = std::chrono::milliseconds(100);
  r.resilience.heartbeat_timeout = std::chrono::milliseconds(1000);
  r.resilience.collective_timeout = std::chrono::seconds(20);
  r.resilience.startup_timeout = std::chrono::seconds(60);
  r.resilience.max_restarts = 3;
  r.resources.nodes = 1;
  r.resources.workers_per_node = 1;
  r.resources.threads_per_worker = 1;
  r.resources.device = "auto";
  return r;
}

}  // namespace stint::engine
