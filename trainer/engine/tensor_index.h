// SPDX-License-Identifier: Apache-2.0
// The tensors of one checkpoint, wherever they lie: whole in one file, or in pieces of many, as the ranks
// that wrote them held them. Any range of a tensor can be read, so any number of ranks can cut them anew.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "trainer/engine/buffer.h"
#include "trainer/engine/partition.h"
#include "trainer/engine/safetensors.h"
#include "trainer/model/config.h"

namespace stint::engine {

// What a shard holds of each parameter, as tensors of one dimension whose place the file's metadata gives.
// `values` holds the pieces alone, or all of the flat order.
std::vector<TensorView> shard_views(const model::Layout& layout, const std::vector<Piece>& pieces,
                                    const std::string& prefix, std::span<const float> values);

class TensorIndex {
 public:
  void add(const std::filesystem::path& file);
  // Throws Error unless each parameter is there under this prefix, in its shape or in pieces without hole or
  // overlap.
  void check(const model::Layout& layout, const std::string& prefix) const;
  // After check(): the pieces into `values`, laid out as in shard_views().
  void read(const model::Layout& layout, const std::vector<Piece>& pieces, const std::string& prefix,
            Buffer& values) const;

 private:
  struct Stored {
    std::size_t begin, count;
    const SafetensorsReader* file;
  };
  void read_range(const std::string& name, std::size_t begin, std::span<float> values) const;

  std::vector<std::unique_ptr<SafetensorsReader>> files_;
  std::map<std::string, std::map<std::size_t, Stored>> tensors_;  // by name and begin
};

}  // namespace stint::engine
