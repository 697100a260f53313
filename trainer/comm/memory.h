// SPDX-License-Identifier: Apache-2.0
// A network in memory: one transport a rank, each used by its own thread, and faults at will. For tests of
// what runs on a Communicator, and for several ranks in one process.
#pragma once

#include <cstdint>
#include <memory>

#include "trainer/comm/transport.h"

namespace stint::comm {

class MemoryNetwork {
 public:
  explicit MemoryNetwork(int size);
  ~MemoryNetwork();

  // Once a rank, from any thread. Transports may outlive the network.
  std::unique_ptr<Transport> transport(int rank);

  // The faults; any thread may cause them.
  // The rank is dead: what it sent before may still arrive, all else that needs it fails.
  void kill(int rank);
  // The rank dies with its n-th send from now.
  void kill_after(int rank, int sends);
  // Nothing that the rank sends from now on arrives; nobody is told.
  void stall(int rank);

 private:
  struct Shared;
  class Endpoint;
  std::shared_ptr<Shared> shared_;
};

}  // namespace stint::comm
