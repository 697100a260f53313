// SPDX-License-Identifier: Apache-2.0
// The ring of Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations",
// J. Parallel Distrib. Comput. 69 (2009), with each chunk cut into segments that follow each other round the
// ring. Chunk c is summed in the order c+1, c+2, …, c of ranks: the same bits wherever the ranks run.
#include <algorithm>

#include "trainer/comm/ring.h"

namespace stint::comm {
namespace {

constexpr std::size_t kSegment = 256 * 1024 / sizeof(float);  // stays in a core's second-level cache
constexpr std::size_t kScratchSegments = 8;                   // at least the messages under way

// Splits the chunks into equally many segments; those past the end of a shorter chunk are empty.
struct Segments {
  std::size_t count, size, per_chunk;
  int ranks;

  Segments(std::size_t count_, int ranks_) : count(count_), size(kSegment), per_chunk(1), ranks(ranks_) {
    const Range longest = chunk_of(count, ranks, 0);
    per_chunk = std::max<std::size_t>(1, (longest.end - longest.begin + size - 1) / size);
  }
  Range at(int chunk, std::size_t index) const {
    const Range whole = chunk_of(count, ranks, ((chunk % ranks) + ranks) % ranks);
    return {std::min(whole.begin + index * size, whole.end),
            std::min(whole.begin + (index + 1) * size, whole.end)};
  }
};

std::span<float> part(std::span<float> data, Range range) {
  return data.subspan(range.begin, range.end - range.begin);
}

void add(std::span<float> sum, std::span<const float> term) {
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += term[i];
}

}  // namespace

Status RingCommunicator::ring_steps(const Operation& operation, std::span<float> data, int first, int steps,
                                    int additions) {
  const Segments segments(data.size(), size());
  const std::size_t per_step = segments.per_chunk;
  const std::size_t added = static_cast<std::size_t>(additions) * per_step;
  const auto outgoing = [&](std::size_t q) {
    return part(data, segments.at(first - static_cast<int>(q / per_step), q % per_step));
  };
  const auto incoming = [&](std::size_t q) {
    return part(data, segments.at(first - static_cast<int>(q / per_step) - 1, q % per_step));
  };
  const auto scratch = [&](std::size_t q) {
    return std::span(scratch_).subspan(q % kScratchSegments * segments.size, incoming(q).size());
  };
  if (additions > 0) scratch_.resize(kScratchSegments * segments.size);

  Flow flow;
  flow.from = left();
  flow.to = right();
  flow.receives = flow.sends = static_cast<std::size_t>(steps) * per_step;
  flow.lag = per_step;
  flow.target = [&](std::size_t q) { return std::as_writable_bytes(q < added ? scratch(q) : incoming(q)); };
  flow.take_in = [&](std::size_t q) {
    if (q < added) add(incoming(q), scratch(q));
  };
  flow.source = [&](std::size_t q) { return std::as_bytes(outgoing(q)); };
  return run(operation, flow);
}

}  // namespace stint::comm
