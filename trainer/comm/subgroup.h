// SPDX-License-Identifier: Apache-2.0
// Some ranks of a communicator as a communicator of their own: for state that is sharded among some ranks and
// replicated among others. Where the other has one among them (all its ranks; those of a node) it passes
// every call on to that; of one rank it has nothing to do; else it goes by the other's messages from rank to
// rank, in which each pair takes its turn (the circle method of round-robin tournaments), so that no two
// ranks ever wait for each other.
#pragma once

#include <vector>

#include "trainer/comm/communicator.h"

namespace stint::comm {

class Subgroup final : public Communicator {
 public:
  // `members`: ranks of `whole`, ascending, its own among them. `whole` outlives this, and is used by the
  // same thread.
  Subgroup(Communicator& whole, std::vector<int> members);

  std::span<std::byte> memory() const override {
    return direct_ != nullptr ? direct_->memory() : std::span<std::byte>{};
  }

  Status reduce_scatter(Data data) override;
  Status all_gather(Data data) override;
  Status all_reduce(Data data) override;
  Status broadcast(std::span<std::byte> data, int root) override;
  Status barrier() override;
  Status send(std::span<const std::byte> data, int to) override;
  Status receive(std::span<std::byte> data, int from) override;
  void revoke() override { whole_.revoke(); }

 private:
  // Sends to and receives from every other rank, one after the other.
  template <typename Out, typename In>
  Status with_each(Out&& out, In&& in);

  Communicator& whole_;
  Communicator* direct_;    // among the same ranks; may be null
  std::vector<int> ranks_;  // in `whole_`
  std::vector<std::byte> scratch_;
};

}  // namespace stint::comm
