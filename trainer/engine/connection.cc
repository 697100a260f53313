// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/connection.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "base/final_error.h"
#include "trainer/comm/hierarchical.h"
#include "trainer/comm/memory.h"
#include "trainer/comm/ring.h"
#include "trainer/comm/shm.h"
#include "trainer/comm/ucx_address.h"

namespace stint::engine {
namespace {

std::string from_hex(const std::string& text) {
  std::string bytes;
  if (text.size() % 2 != 0) fail("view: an address has an odd number of hex digits");
  for (std::size_t i = 0; i < text.size(); i += 2) {
    char* end = nullptr;
    const std::string digits = text.substr(i, 2);
    bytes += static_cast<char>(std::strtoul(digits.c_str(), &end, 16));
    if (*end != '\0') fail("view: an address has '{}', which is not hex", digits);
  }
  return bytes;
}

// Each rank on a node of its own, where the message says nothing.
std::vector<int> nodes_in(const nlohmann::json& message, std::size_t ranks) {
  std::vector<int> nodes(ranks);
  std::iota(nodes.begin(), nodes.end(), 0);
  return message.value("nodes", nodes);
}

Connection over_network(std::unique_ptr<comm::UcxTransport> transport, const View& view,
                        std::chrono::milliseconds timeout, std::string note) {
  if (!transport) fail("view: {} workers of one node have no shared memory", view.nodes.size());
  transport->connect(view.rank, view.addresses, view.epoch);
  auto ring = std::make_unique<comm::RingCommunicator>(std::move(transport), view.epoch, timeout);
  comm::RingCommunicator* network = ring.get();
  return {std::move(ring), "ucx", std::move(note), network, comm::machines_of(view.addresses)};
}

Connection to_nobody(const View& view, std::chrono::milliseconds timeout) {
  return {std::make_unique<comm::RingCommunicator>(comm::MemoryNetwork(1).transport(0), view.epoch, timeout),
          "none", "", nullptr, ""};
}

}  // namespace

std::string to_hex(const std::string& bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

View parse_view(const nlohmann::json& message) {
  View view{message.at("epoch").get<std::uint32_t>(), message.at("rank").get<int>(), {}, {}, false};
  for (const auto& address : message.at("addresses"))
    view.addresses.push_back(from_hex(address.get<std::string>()));
  const int size = message.at("size").get<int>();
  if (static_cast<std::size_t>(size) != view.addresses.size() || view.rank < 0 || view.rank >= size)
    fail("view: rank {} of {} with {} addresses makes no sense", view.rank, size, view.addresses.size());
  view.nodes = nodes_in(message, view.addresses.size());
  if (view.nodes.size() != view.addresses.size())
    fail("view: {} addresses on {} nodes make no sense", view.addresses.size(), view.nodes.size());
  view.shared_memory = message.value("shared_memory", false);
  return view;
}

void require_equal_operands(const std::vector<model::Operand>& operands) {
  std::vector<int> without;
  for (std::size_t rank = 0; rank < operands.size(); ++rank)
    if (operands[rank] != model::Operand::kBf16) without.push_back(static_cast<int>(rank));
  const bool equal = std::ranges::all_of(operands, [&](auto operand) { return operand == operands.front(); });
  if (equal) return;
  fail_finally(
      "model.precision bf16: the processors of rank{} {} have no AVX-512 to multiply in it, those of the "
      "others "
      "have; ask for one kind of node with sbatch --constraint=FEATURE, or use model.precision = fp32",
      without.size() == 1 ? "" : "s", fmt::join(without, ", "));
}

Connection connect(std::unique_ptr<comm::UcxTransport> transport, const View& view, int memory,
                   std::chrono::milliseconds timeout) {
  if (view.nodes.size() == 1) return to_nobody(view, timeout);
  const auto beside = comm::ranks_beside(view.nodes, view.rank);
  if (!view.shared_memory)
    return over_network(std::move(transport), view, timeout,
                        beside.size() > 1 ? "the workers of a node share no memory" : "");
  const auto place = static_cast<int>(std::ranges::find(beside, view.rank) - beside.begin());
  const bool alone = beside.size() == view.nodes.size();
  if (!alone && !comm::fits_hierarchy(view.nodes))
    return over_network(std::move(transport), view, timeout,
                        fmt::format("{} workers on a node are no power of two, or not as many as on others, "
                                    "so they do not add up in shared memory first",
                                    beside.size()));
  auto segment = comm::ShmSegment::adopt(memory, place);
  if (alone)
    return {std::make_unique<comm::ShmCommunicator>(
                std::move(segment),
                comm::whole_view(view.epoch, view.rank, static_cast<int>(view.nodes.size())), timeout),
            "shm", "", nullptr, ""};
  if (!transport) fail("view: some workers are on other nodes, where all were to be on this one");
  transport->connect(view.rank, view.addresses, view.epoch);
  auto both = std::make_unique<comm::HierarchicalCommunicator>(std::move(transport), std::move(segment),
                                                               view.nodes, view.epoch, timeout);
  comm::RingCommunicator* network = &both->across();
  return {std::move(both), "hierarchical", "", network, comm::machines_of(view.addresses)};
}

}  // namespace stint::engine
