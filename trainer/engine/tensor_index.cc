// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/tensor_index.h"

#include <algorithm>

#include "base/error.h"

namespace stint::engine {
namespace {

// What both have, as fn(parameter, begin within it, count, place in `values`).
template <typename Visit>
void for_overlaps(const model::Layout& layout, const std::vector<Piece>& pieces, bool whole, Visit&& visit) {
  auto parameter = layout.parameters().begin();
  for (const Piece& piece : pieces) {
    const std::size_t end = piece.flat + piece.count;
    while (parameter != layout.parameters().end() && parameter->offset + parameter->count <= piece.flat)
      ++parameter;
    for (auto p = parameter; p != layout.parameters().end() && p->offset < end; ++p) {
      const std::size_t begin = std::max(p->offset, piece.flat), stop = std::min(p->offset + p->count, end);
      visit(*p, begin - p->offset, stop - begin, whole ? begin : piece.held + (begin - piece.flat));
    }
  }
}

}  // namespace

std::vector<TensorView> shard_views(const model::Layout& layout, const std::vector<Piece>& pieces,
                                    const std::string& prefix, std::span<const float> values) {
  std::vector<TensorView> result;
  for_overlaps(
      layout, pieces, values.size() == layout.floats(),
      [&](const model::Parameter& p, std::size_t begin, std::size_t count, std::size_t place) {
        result.push_back(
            {prefix + p.name, {static_cast<std::int64_t>(count)}, values.subspan(place, count), begin});
      });
  return result;
}

void TensorIndex::add(const std::filesystem::path& path) {
  files_.push_back(std::make_unique<SafetensorsReader>(path));
  const auto& file = *files_.back();
  for (const auto& [name, entry] : file.entries()) {
    const std::size_t begin = entry.piece_of.value_or(0);
    const bool is_new =
        tensors_[name]
            .try_emplace(begin, Stored{begin, (entry.end - entry.begin) / sizeof(float), &file})
            .second;
    if (!is_new) fail("{}: {} is in another file too", path.string(), name);
  }
}

void TensorIndex::check(const model::Layout& layout, const std::string& prefix) const {
  for (const auto& p : layout.parameters()) {
    const auto it = tensors_.find(prefix + p.name);
    if (it == tensors_.end()) fail("no file has a tensor {}", prefix + p.name);
    std::size_t at = 0;
    for (const auto& [begin, stored] : it->second) {
      const auto& entry = stored.file->entries().at(it->first);
      stored.file->check(it->first,
                         entry.piece_of ? std::vector{static_cast<std::int64_t>(stored.count)} : p.shape);
      if (begin != at) fail("the pieces of {} overlap or leave a hole at {}", it->first, at);
      at += stored.count;
    }
    if (at != p.count) fail("{} has {} elements, the recipe's model {}", it->first, at, p.count);
  }
}

void TensorIndex::read(const model::Layout& layout, const std::vector<Piece>& pieces,
                       const std::string& prefix, Buffer& values) const {
  model::Device& device = values.device();
  std::vector<float> block(device.is_host() ? 0 : kBlockFloats);  // on its way
  const auto read_by_blocks = [&](const std::string& name, std::size_t begin, std::span<float> to) {
    for (std::size_t at = 0; at < to.size(); at += block.size()) {
      const auto part = std::span(block).first(std::min(block.size(), to.size() - at));
      read_range(name, begin + at, part);
      device.put(&to[at], part.data(), part.size_bytes());
    }
  };
  for_overlaps(layout, pieces, values.span().size() == layout.floats(),
               [&](const model::Parameter& p, std::size_t begin, std::size_t count, std::size_t place) {
                 const auto to = values.span().subspan(place, count);
                 if (device.is_host())
                   read_range(prefix + p.name, begin, to);
                 else
                   read_by_blocks(prefix + p.name, begin, to);
               });
}

void TensorIndex::read_range(const std::string& name, std::size_t begin, std::span<float> values) const {
  const auto& stored = tensors_.at(name);
  for (auto it = std::prev(stored.upper_bound(begin)); !values.empty(); ++it) {
    const auto& piece = it->second;
    const std::size_t skip = begin - piece.begin, count = std::min(values.size(), piece.count - skip);
    piece.file->read(name, skip, values.first(count));
    values = values.subspan(count);
    begin += count;
  }
}

}  // namespace stint::engine
