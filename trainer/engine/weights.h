// SPDX-License-Identifier: Apache-2.0
// The weights of a checkpoint as a folder that Hugging Face reads (config.json,
// model-0000i-of-0000n.safetensors and their index), however many ranks wrote it in whatever cut. The ranks
// write its files side by side, out of the checkpoint's: nobody holds more than one file's tensors. No
// threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "trainer/model/config.h"

namespace stint::engine {

class WeightsFolder {
 public:
  // In at least so many files, if there are as many units, each of at most 4 GiB, if no unit has more. The
  // layout outlives it; `target` is where the folder will be.
  WeightsFolder(std::filesystem::path checkpoint, std::filesystem::path target, const model::Layout& layout,
                std::size_t files);

  bool exists() const;
  std::size_t files() const { return units_.size(); }
  // One process begins; then each writes some of the files; then one finishes, or abandons. Each throws
  // Error.
  void begin() const;
  void write(std::size_t file) const;
  void finish(const model::Config& config, std::int64_t sequence_length) const;
  void abandon() const;

 private:
  std::filesystem::path hidden() const;
  std::string name_of(std::size_t file) const;

  std::filesystem::path checkpoint_, target_;
  const model::Layout& layout_;
  std::vector<std::vector<std::size_t>> units_;  // by file
};

}  // namespace stint::engine
