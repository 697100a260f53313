// SPDX-License-Identifier: Apache-2.0
// Where things run, as the agents of a step agree on it: the order of the nodes in the ring and the cores
// and devices of each worker. Turns what the agents published into trainer/topology's terms.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "recipes/recipe.h"
#include "trainer/agent/peers.h"
#include "trainer/agent/worker_process.h"
#include "trainer/topology/devices.h"

namespace stint::agent {

struct Placement {
  std::vector<std::size_t>
      order;  // order[p]: index of the node at position p of the ring; the same everywhere
  topology::MachinePlan machine;   // of this node's workers
  std::vector<std::string> notes;  // for people; each is said by one agent only
};

// machine: this one. Agents on one host (a test cluster) take their slices of it.
Placement place(const std::vector<Identity>& nodes, std::size_t self, const topology::Machine& machine,
                const recipes::Recipe& recipe);

// Makes the command bind its process, and tells it its number of threads and its devices.
void bind_worker(WorkerCommand& command, const topology::Machine& machine, const topology::MachinePlan& plan,
                 int local);

}  // namespace stint::agent
