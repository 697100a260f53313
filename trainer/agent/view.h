// SPDX-License-Identifier: Apache-2.0
// The view of an attempt: which worker has which logical rank. Pure: every agent computes the same one from
// what all of them published.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "trainer/topology/rank_table.h"

namespace stint::agent {

struct View {
  std::uint32_t epoch = 0;
  std::vector<std::size_t> order;      // order[p]: index of the node at position p of the ring
  std::vector<std::string> addresses;  // of every worker, by logical rank
  std::vector<std::size_t> nodes;      // where each one is, by logical rank
  topology::RankTable ranks;

  // The message to the worker of that rank.
  nlohmann::json message_for(int rank) const;
};

// addresses[n]: those of the workers of node n. Throws Error when `order` does not name each node once or a
// node has no worker.
View make_view(std::uint32_t epoch, const std::vector<std::size_t>& order,
               const std::vector<std::vector<std::string>>& addresses);

}  // namespace stint::agent
