// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/view.h"

namespace stint::agent {

nlohmann::json View::message_for(int rank) const {
  return {{"type", "view"},       {"epoch", epoch},         {"rank", rank},
          {"size", ranks.size()}, {"addresses", addresses}, {"nodes", nodes}};
}

View make_view(std::uint32_t epoch, const std::vector<std::size_t>& order,
               const std::vector<std::vector<std::string>>& addresses) {
  std::vector<int> workers;
  workers.reserve(addresses.size());
  for (const auto& node : addresses) workers.push_back(static_cast<int>(node.size()));
  View view{epoch, order, {}, {}, topology::RankTable(order, workers)};
  for (int rank = 0; rank < view.ranks.size(); ++rank) {
    const topology::Seat seat = view.ranks.seat_of(rank);
    view.nodes.push_back(seat.node);
    view.addresses.push_back(addresses[seat.node][static_cast<std::size_t>(seat.local_rank)]);
  }
  return view;
}

}  // namespace stint::agent
