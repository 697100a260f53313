// SPDX-License-Identifier: Apache-2.0
// How the workers of a view reach each other. All on one node: shared memory. On several nodes of equally
// many, a power of two: shared memory within and UCX between them. Else, or without a segment: UCX alone. All
// give the same bits. UCX is not even started where all workers are on one node.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "trainer/comm/communicator.h"
#include "trainer/comm/ring.h"
#include "trainer/comm/ucx.h"
#include "trainer/model/kernels/kernels.h"

namespace stint::engine {

// The agent's message "view".
struct View {
  std::uint32_t epoch = 0;
  int rank = 0;
  std::vector<std::string> addresses;  // by rank
  std::vector<int> nodes;              // by rank
  bool shared_memory = false;
};
// Throws Error on what makes no sense.
View parse_view(const nlohmann::json& message);

// Addresses are bytes; the agents' files hold text.
std::string to_hex(const std::string& bytes);

// What the ranks multiply in, by rank. Throws FinalError with the remedy where they differ: some processors
// have products in bf16 and others have not, and what they would send each other differs in size.
void require_equal_operands(const std::vector<model::Operand>& operands);

struct Connection {
  std::unique_ptr<comm::Communicator> communicator;
  std::string kind;                           // "shm", "hierarchical", "ucx"; "none" for a single rank
  std::string note;                           // for people: why it is not a better one; may be empty
  comm::RingCommunicator* network = nullptr;  // the part that goes over the network; null: there is none
  std::string members;                        // of such: which machines, since when, in the order of ranks
};
// The address of a worker that reaches nobody over a network.
inline constexpr const char* kNoAddress = "none";
// `transport`: null where all ranks are on this node. `memory`: the descriptor of the segment, where the view
// says that there is one; it is taken. Throws Error.
Connection connect(std::unique_ptr<comm::UcxTransport> transport, const View& view, int memory,
                   std::chrono::milliseconds timeout);

}  // namespace stint::engine
