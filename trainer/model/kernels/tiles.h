// SPDX-License-Identifier: Apache-2.0
// How the kernels cut their work; each table the same, so that bits are.
#pragma once

#include "trainer/model/kernels/kernels.h"

namespace stint::model {

constexpr std::int64_t kNormBlock = 32;  // rows whose part of a norm's dweight is summed on its own
constexpr std::int64_t kTile = 64;       // positions of an attention tile
constexpr std::int64_t kLanes = 16;      // of every sum; head sizes are padded to it inside attention

constexpr std::int64_t padded(std::int64_t value, std::int64_t to) {
  return (value + to - 1) / to * to;
}

// Floats of one head of one sequence in whole tiles.
constexpr std::int64_t packed_head(const AttentionShape& shape) {
  return padded(shape.length, kTile) * padded(shape.head_size, kLanes);
}

// What one thread of attention works in: up to seven packed heads, four tiles of scores, one of outputs, and
// a few floats a position.
constexpr std::int64_t attention_thread_scratch(const AttentionShape& shape) {
  return 7 * packed_head(shape) + kTile * (4 * kTile + padded(shape.head_size, kLanes) + 3) +
         padded(shape.length, kTile);
}

}  // namespace stint::model
