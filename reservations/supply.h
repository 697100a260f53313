// SPDX-License-Identifier: Apache-2.0
// How many nodes of one kind there are for plans, at whatever time, and where the others are. Pure.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "reservations/cluster.h"
#include "reservations/plan.h"

namespace stint::reservations {

// By partition, features and GPUs; whether it is sound or not.
bool qualifies(const ClusterNode& node, const NodeKind& kind);

class Supply {
 public:
  // `kept_out`: nodes that no plan may have.
  Supply(NodeKind kind, const std::vector<ClusterNode>& bookable, const std::vector<ClusterNode>& kept_out);

  std::size_t left() const { return left_; }
  // Whether plans may have all that qualify.
  bool whole() const { return left_ == qualify_; }
  // "8 nodes of partition main have feature ib, 3 of them are drained (node[1-3]): 5 are left"
  std::string text() const;

 private:
  std::string holders() const;

  NodeKind kind_;
  std::size_t qualify_ = 0;
  std::size_t kept_out_ = 0;
  std::size_t left_ = 0;
  std::map<std::string, std::vector<std::string>> lost_;  // names by what they are: "drained"
};

}  // namespace stint::reservations
