// SPDX-License-Identifier: Apache-2.0
// Which node stands where in the ring, from the switches that Slurm says it hangs on. Pure: names in, an
// order out; every agent computes the same from the same input, however that is ordered. No files, no
// threads, no Slurm.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace stint::topology {

// A node as its agent sees it, in Slurm's environment and in its GPUs; all but the name may be empty.
struct NodePlace {
  std::string name;
  std::string address;  // SLURM_TOPOLOGY_ADDR: "spine.leaf1.node1"
  std::string
      pattern;  // SLURM_TOPOLOGY_ADDR_PATTERN: "switch.switch.node"; empty: all but the last are switches
  std::string nvlink_domain{};  // of its GPUs, as the driver names it
};

// The switches above the node, top first; empty if it hangs on none ("node1", topology/none).
// None: the address is missing or malformed.
std::optional<std::vector<std::string>> switches_of(const NodePlace& place);

struct Order {
  std::vector<std::size_t> nodes;  // nodes[p]: which of the input stands at position p of the ring
  std::string note;                // for people, when switches could not be used as they should; else empty
};

// The places that hold nodes together, outermost first: the switches and, where NVLink reaches beyond a node,
// its domain: below the leaf switch when every domain hangs on one leaf, else above it. Two nodes share a
// failure domain when these are equal. None: not known.
std::vector<std::optional<std::vector<std::string>>> domains_of(std::span<const NodePlace> places);

// Depth first through the tree of switches, each level and each leaf's nodes in natural order (node2 <
// node10): the nodes of every switch, at every level, and of every NVLink domain stand side by side, so the
// ring enters and leaves each switch once, the fewest times possible. Nodes whose place is not known come
// last, by name.
Order order_nodes(std::span<const NodePlace> places);

// Edges of the closed ring whose ends hang on different leaf switches.
std::size_t leaf_crossings(std::span<const NodePlace> places, std::span<const std::size_t> order);

// Digits compare as numbers: node2 < node10. A total order: equal only for equal strings.
bool natural_less(const std::string& a, const std::string& b);

}  // namespace stint::topology
