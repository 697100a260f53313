// SPDX-License-Identifier: Apache-2.0
#include "reservations/claims.h"

#include <algorithm>
#include <functional>
#include <optional>

namespace stint::reservations {
namespace {

using std::chrono::sys_seconds;

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Until when nobody claims the node from `from` on, at most until `end`; `from` where somebody does.
sys_seconds unclaimed_until(const std::string& node, const std::vector<Claim>& claims, sys_seconds from,
                            sys_seconds end) {
  for (const auto& claim : claims) {
    if (claim.node == node && claim.window.end > from)
      end = std::min(end, std::max(from, claim.window.start));
  }
  return end;
}

// The longest part that begins at `from`; none where too few nodes are unclaimed there.
std::optional<Segment> room_at(const Segment& segment, const std::vector<Claim>& claims, std::size_t count,
                               sys_seconds from) {
  std::vector<sys_seconds> until;
  for (const auto& node : segment.nodes) until.push_back(unclaimed_until(node, claims, from, segment.end));
  auto latest_first = until;
  std::sort(latest_first.begin(), latest_first.end(), std::greater<>());
  if (count == 0 || count > latest_first.size() || latest_first[count - 1] <= from) return std::nullopt;
  Segment room{segment.reservation, from, latest_first[count - 1], {}};
  for (std::size_t i = 0; i < until.size(); ++i) {
    if (until[i] >= room.end) room.nodes.push_back(segment.nodes[i]);
  }
  return room;
}

sys_seconds next_end(const std::vector<Claim>& claims, sys_seconds from, sys_seconds end) {
  for (const auto& claim : claims) {
    if (claim.window.end > from) end = std::min(end, claim.window.end);
  }
  return end;
}

}  // namespace

ReservationsOfNodes by_node(const std::vector<ClusterReservation>& reservations) {
  ReservationsOfNodes of_nodes;
  for (const auto& reservation : reservations) {
    for (const auto& node : reservation.nodes) of_nodes[node].push_back(&reservation);
  }
  return of_nodes;
}

std::vector<Claim> claims_on(const Segment& segment, const ReservationsOfNodes& reservations,
                             sys_seconds now) {
  const Window rest{std::max(segment.start, now), segment.end};
  std::vector<Claim> claims;
  for (const auto& node : segment.nodes) {
    const auto there = reservations.find(node);
    if (there == reservations.end()) continue;
    const auto first = static_cast<std::ptrdiff_t>(claims.size());
    for (const auto* other : there->second) {
      if (other->name != segment.reservation && rest.overlaps({other->start, other->end}))
        claims.push_back({node, other->name, {other->start, other->end}});
    }
    std::sort(claims.begin() + first, claims.end(),
              [](const Claim& a, const Claim& b) { return a.window.start < b.window.start; });
  }
  return claims;
}

std::vector<Segment> rooms_in(const Segment& segment, const std::vector<Claim>& claims, std::size_t count,
                              const std::vector<std::string>& own, sys_seconds now) {
  if (claims.empty()) return {segment};
  std::vector<Segment> rooms;
  sys_seconds from = segment.start;
  if (!own.empty()) {
    Segment here = segment;
    for (const auto& claim : claims) {
      if (claim.window.start > now && contains(own, claim.node))
        here.end = std::min(here.end, claim.window.start);
    }
    from = here.end;
    rooms.push_back(std::move(here));
  }
  while (from < segment.end) {
    if (auto room = room_at(segment, claims, count, from)) {
      from = room->end;
      rooms.push_back(std::move(*room));
    } else {
      from = next_end(claims, from, segment.end);
    }
  }
  return rooms.empty() ? std::vector<Segment>{segment} : rooms;
}

}  // namespace stint::reservations
