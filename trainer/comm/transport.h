// SPDX-License-Identifier: Apache-2.0
// What a collective needs of a network: tagged messages between the ranks of one view that are posted, polled
// and given up. Knows nothing of sums, deadlines and view changes. One thread a transport.
// Failures are values: a dead peer fails the requests that need it and no others.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include "trainer/comm/communicator.h"

namespace stint::comm {

// Messages match by all three parts. Between two ranks, messages of one tag arrive in the order of sending.
struct Tag {
  std::uint16_t epoch = 0;  // low bits of the view's number
  std::uint32_t operation = 0;
  std::uint16_t slot = 0;
};

enum class Outcome { kPending, kDone, kFailed };

class Transport {
 public:
  // Names a posted message until test() said kDone.
  using Request = std::uint32_t;

  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // The bytes must stay where they are until test() says kDone, or abort() has returned. A message whose
  // length is not that of its receive fails the receive.
  virtual Request send(int peer, Tag tag, std::span<const std::byte> bytes) = 0;
  virtual Request receive(int peer, Tag tag, std::span<std::byte> bytes) = 0;
  virtual Outcome test(Request request) = 0;
  // Whether such a message lies here that no receive has taken.
  virtual bool arrived(int peer, Tag tag) = 0;
  // Moves what can be moved; false if nothing could, as far as it knows: requests may have ended all the
  // same, so look at them once more before you sleep().
  virtual bool progress() = 0;
  // Lets others run until something may have moved here, for at most so long. wake(), which any thread may
  // call, ends it, or the next one.
  virtual void sleep(std::chrono::microseconds limit) = 0;
  virtual void wake() = 0;
  // Why test() said kFailed.
  virtual Status failure() const = 0;
  // Gives up all requests and tells the peers, as far as possible, by closing the connections to them.
  // Returns within about a second; afterwards no buffer is touched any more. Idempotent; then only
  // destruction is left.
  virtual void abort() = 0;
};

}  // namespace stint::comm
