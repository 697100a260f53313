// SPDX-License-Identifier: Apache-2.0
// Counter-based random numbers: each value is a pure function of its key and index, so no generator state has
// to be saved, moved or kept in step between ranks.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace stint::model {

// The finaliser of SplitMix64 (Steele, Lea, Flood 2014) over counter `index` of stream `key`.
std::uint64_t random_bits(std::uint64_t key, std::uint64_t index);

// A stream's key from a seed and a name.
std::uint64_t stream_key(std::uint64_t seed, std::string_view name);

// Uniform in [0, bound), bound > 0, without modulo bias worth naming (bound / 2^64).
std::uint64_t random_below(std::uint64_t key, std::uint64_t index, std::uint64_t bound);

// values[i] = normal(0, stddev), a function of (seed, name, i) only (Box and Muller 1958).
void fill_normal(std::span<float> values, std::uint64_t seed, std::string_view name, double stddev);

}  // namespace stint::model
