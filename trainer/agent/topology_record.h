// SPDX-License-Identifier: Apache-2.0
// The run directory's topology.json: what stands where and why, for `stint run topology` and other readers.
// It explains itself: no reader needs this room's code. Pure but for the file.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/run_directory.h"
#include "trainer/agent/placement.h"
#include "trainer/topology/rank_table.h"

namespace stint::agent {

// This node's part, which its agent publishes: processor, devices, and for each worker its own.
nlohmann::json describe(const topology::Machine& machine, const topology::MachinePlan& plan);

struct TopologyFacts {
  nlohmann::json run;  // job, restart, attempt, recipe
  const std::vector<Identity>& nodes;
  const Layout& layout;
  const topology::RankTable& ranks;
  int shard_degree = 1;
  std::vector<nlohmann::json> machines;  // by node, as describe() made them
  topology::RoundTrips times;            // empty: not measured
};
nlohmann::json topology_record(const TopologyFacts& facts);

// Network devices that other nodes have, or that were there at the last start, and are not now; for people.
std::vector<std::string> missing_devices(const nlohmann::json& record, const nlohmann::json& last);

// The record of the last start; null: none that can be read.
nlohmann::json read_topology(const RunDirectory& run);

}  // namespace stint::agent
