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
#include "trainer/topology/measured.h"
#include "trainer/topology/placement.h"

namespace stint::agent {

// Of all nodes; the same everywhere.
struct Layout {
  enum class Source { kSlurm, kMeasured, kNames };
  Source source = Source::kNames;
  std::vector<topology::NodePlace> places;
  std::vector<std::size_t> order;    // order[p]: index of the node at position p of the ring
  std::vector<std::size_t> buddies;  // by node
  std::vector<std::string> notes;    // for people
};

// Whether the agents are to time messages between their nodes before they choose an order.
bool wants_measuring(const std::vector<Identity>& nodes, const recipes::Recipe& recipe);
// times: empty, or of every node to every node.
Layout lay_out(const std::vector<Identity>& nodes, const topology::RoundTrips& times);

struct Placement {
  topology::MachinePlan machine;   // of this node's workers
  std::vector<std::string> notes;  // for people; each is said by one agent only
};

// machine: this one. Agents on one host (a test cluster) take their slices of it.
Placement place(const std::vector<Identity>& nodes, std::size_t self, const topology::Machine& machine,
                const recipes::Recipe& recipe, const Layout& layout);

// Makes the command bind its process, and tells it its number of threads and its devices.
void bind_worker(WorkerCommand& command, const topology::Machine& machine, const topology::MachinePlan& plan,
                 int local);

// Whether each of this node's workers is to compute on the GPU that the plan gives it. Throws FinalError with
// the remedy when the recipe wants GPUs and the plan has too few.
bool uses_gpus(const recipes::Recipe& recipe, const topology::Machine& machine,
               const topology::MachinePlan& plan);

// Throws Error when UCX_NET_DEVICES names a device that this machine does not have: UCX would go without.
void require_net_devices(const topology::Machine& machine);

}  // namespace stint::agent
