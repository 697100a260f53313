// SPDX-License-Identifier: Apache-2.0
#include "trainer/comm/communicator.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace stint::comm {

Status told_by(int teller, Code code, int peer) {
  if (code == Code::kRevoked) return {Code::kPeerFailed, teller, fmt::format("rank {} was revoked", teller)};
  if (code == Code::kTimeout)
    return {Code::kTimeout, peer, fmt::format("rank {} gave up waiting for rank {}", teller, peer)};
  return {Code::kPeerFailed, peer, fmt::format("rank {} lost rank {}", teller, peer)};
}

Range chunk_of(std::size_t count, int size, int rank) {
  const auto parts = static_cast<std::size_t>(size), part = static_cast<std::size_t>(rank);
  const std::size_t share = count / parts, longer = count % parts;
  const std::size_t begin = part * share + std::min(part, longer);
  return {begin, begin + share + (part < longer ? 1 : 0)};
}

Group whole_view(std::uint32_t epoch, int rank, int size) {
  Group group{epoch, rank, std::vector<int>(static_cast<std::size_t>(size))};
  std::iota(group.members.begin(), group.members.end(), 0);
  return group;
}

}  // namespace stint::comm
