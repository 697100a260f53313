// SPDX-License-Identifier: Apache-2.0
// Collectives among the workers of one view. Ranks here are logical ranks: the order of additions depends on
// them and on the world size alone, never on where a rank runs, so results are bit for bit repeatable.
// Errors are values; after any but Ok the communicator is of no more use and its view must be replaced.
// One thread a communicator, except revoke(), which any thread may call.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace stint::comm {

enum class Code { kOk, kPeerFailed, kTimeout, kRevoked };

struct [[nodiscard]] Status {
  Code code = Code::kOk;
  int peer = -1;       // the rank that failed or was waited for; -1: not known
  std::string detail;  // for people
  explicit operator bool() const { return code == Code::kOk; }
};

// Elements [begin, end) of `count` that rank `rank` of `size` owns after reduce_scatter. Chunks differ by at
// most one element, earlier ranks hold the longer ones.
struct Range {
  std::size_t begin = 0, end = 0;
};
Range chunk_of(std::size_t count, int size, int rank);

class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::uint32_t epoch() const = 0;  // the view's number; messages of another are dropped

  // In place: afterwards chunk_of(data.size(), size(), rank()) holds the sum over all ranks, the rest is
  // undefined.
  virtual Status reduce_scatter(std::span<float> data) = 0;
  // In place: each rank's own chunk is copied to all others.
  virtual Status all_gather(std::span<float> data) = 0;
  // Sum over all ranks, in place; equal bits on every rank.
  virtual Status all_reduce(std::span<float> data) = 0;
  virtual Status broadcast(std::span<std::byte> data, int root) = 0;
  virtual Status barrier() = 0;

  // Every operation under way or later, here, returns kRevoked. Idempotent.
  virtual void revoke() = 0;
};

}  // namespace stint::comm
