// SPDX-License-Identifier: Apache-2.0
#include "trainer/topology/failure_domains.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"

namespace stint::topology {
namespace {

using Path = std::vector<std::string>;
using Paths = std::vector<std::optional<Path>>;

int shared_levels(const std::optional<Path>& a, const std::optional<Path>& b) {
  if (!a || !b) return 0;
  return static_cast<int>(std::ranges::mismatch(*a, *b).in1 - a->begin());
}

// Without its domains a node may share one with any other that has none.
bool together(const Paths& paths, std::size_t a, std::size_t b) {
  return paths[a] == paths[b];
}

// The last of the largest domain: whoever is left over must not be of those that are hard to pair.
std::size_t take_odd_one(const Paths& paths, std::vector<std::size_t>& order) {
  std::map<std::optional<Path>, std::size_t> sizes;
  for (const std::size_t node : order) ++sizes[paths[node]];
  const auto odd = std::ranges::max_element(order, {}, [&](std::size_t node) { return sizes[paths[node]]; });
  const std::size_t node = *odd;
  order.erase(odd);
  return node;
}

// Opens the pair that gains most by it.
void join_three(const Paths& paths, std::vector<std::size_t>& buddy, std::size_t odd) {
  std::size_t best = odd;
  int best_apart = -1;
  for (std::size_t node = 0; node < buddy.size(); ++node) {
    if (node == odd) continue;
    const std::size_t other = buddy[node];
    const int apart =
        !together(paths, node, odd) + !together(paths, odd, other) - !together(paths, node, other);
    if (apart <= best_apart) continue;
    best_apart = apart;
    best = node;
  }
  if (best == odd) return;
  buddy[odd] = buddy[best];
  buddy[best] = odd;
}

}  // namespace

// Halves of a depth-first order: two nodes of one domain are half the ring apart only when the domain holds
// more than half of all nodes, and then no more often than it must be.
std::vector<std::size_t> buddies(std::span<const NodePlace> places) {
  const Paths paths = domains_of(places);
  auto order = order_nodes(places).nodes;
  std::vector<std::size_t> buddy(places.size());
  std::optional<std::size_t> odd;
  if (order.size() % 2 == 1) odd = take_odd_one(paths, order);
  const std::size_t half = order.size() / 2;
  for (std::size_t p = 0; p < half; ++p) {
    buddy[order[p]] = order[p + half];
    buddy[order[p + half]] = order[p];
  }
  if (!odd) return buddy;
  buddy[*odd] = *odd;
  join_three(paths, buddy, *odd);
  return buddy;
}

std::size_t exposed(std::span<const NodePlace> places, std::span<const std::size_t> buddies) {
  const Paths paths = domains_of(places);
  std::size_t count = 0;
  for (std::size_t node = 0; node < buddies.size(); ++node)
    count += together(paths, node, buddies[node]) ? 1 : 0;
  return count;
}

std::optional<std::size_t> choose_spare(std::span<const NodePlace> places, std::size_t lost,
                                        std::size_t buddy, std::span<const std::size_t> spares) {
  const Paths paths = domains_of(places);
  const auto better = [&](std::size_t a, std::size_t b) {
    if (together(paths, a, buddy) != together(paths, b, buddy)) return together(paths, b, buddy);
    const int near_a = shared_levels(paths[a], paths[lost]), near_b = shared_levels(paths[b], paths[lost]);
    return near_a != near_b ? near_a > near_b : natural_less(places[a].name, places[b].name);
  };
  const auto best = std::ranges::min_element(spares, better);
  return best == spares.end() ? std::nullopt : std::optional(*best);
}

std::vector<std::size_t> set_aside(std::span<const NodePlace> places, std::size_t count) {
  if (count >= places.size())
    fail("topology: {} spares of {} nodes leave none that trains", count, places.size());
  const Paths paths = domains_of(places);
  std::map<std::optional<Path>, std::vector<std::size_t>> members;
  for (const std::size_t node : order_nodes(places).nodes) members[paths[node]].push_back(node);
  std::map<std::optional<Path>, std::size_t> taken;
  std::vector<std::size_t> spares;
  while (spares.size() < count) {
    // By the rule of Webster's apportionment: the next one to the domain that is furthest behind.
    const auto behind = [&](const auto& domain) {
      return static_cast<double>(domain.second.size()) / static_cast<double>(2 * taken[domain.first] + 1);
    };
    const auto next = std::ranges::max_element(members, {}, behind);
    spares.push_back(next->second[next->second.size() - 1 - taken[next->first]++]);
  }
  return spares;
}

ShardGroups shard_groups(const RankTable& ranks, std::span<const NodePlace> places, int degree) {
  if (degree < 1 || ranks.size() % degree != 0)
    fail("topology: {} workers cannot be cut into groups of {}; choose a divisor of {}", ranks.size(), degree,
         ranks.size());
  ShardGroups groups;
  groups.replicas.resize(static_cast<std::size_t>(degree));
  int wide = 0;
  for (int first = 0; first < ranks.size(); first += degree) {
    std::vector<int>& group = groups.shards.emplace_back();
    std::set<std::string> domains;
    for (int part = 0; part < degree; ++part) {
      group.push_back(first + part);
      groups.replicas[static_cast<std::size_t>(part)].push_back(first + part);
      const NodePlace& place = places[ranks.seat_of(first + part).node];
      domains.insert(place.nvlink_domain.empty() ? place.name : "nvlink " + place.nvlink_domain);
    }
    wide += domains.size() > 1 ? 1 : 0;
  }
  if (wide > 0)
    groups.note = fmt::format(
        "{} of {} shard groups reach beyond one node or NVLink domain: their traffic crosses the network in "
        "every "
        "step; parallel.sharding = hybrid with a parallel.shard_degree that fits keeps it inside",
        wide, groups.shards.size());
  return groups;
}

}  // namespace stint::topology
