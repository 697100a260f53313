// SPDX-License-Identifier: Apache-2.0
// One message each. They are counted by pair, apart from the collectives: only two ranks take part. Their
// tags hold ranks of the view.
#include <cassert>

#include "trainer/comm/ring.h"

namespace stint::comm {

Status RingCommunicator::send(std::span<const std::byte> data, int to) {
  return send_in_view(data, named(to));
}

Status RingCommunicator::receive(std::span<std::byte> data, int from) {
  return receive_in_view(data, named(from));
}

Status RingCommunicator::send_in_view(std::span<const std::byte> data, int to) {
  const int self = named(rank());
  assert(to != self);
  return perform_between("send", sent_[static_cast<std::size_t>(to)], [&](const Operation& operation) {
    return wait(operation, transport_.send(to, tag(operation, self), data), to);
  });
}

Status RingCommunicator::receive_in_view(std::span<std::byte> data, int from) {
  assert(from != named(rank()));
  return perform_between("receive", received_[static_cast<std::size_t>(from)],
                         [&](const Operation& operation) {
                           return wait(operation, transport_.receive(from, tag(operation, from), data), from);
                         });
}

}  // namespace stint::comm
