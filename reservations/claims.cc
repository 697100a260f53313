// SPDX-License-Identifier: Apache-2.0
#include "reservations/claims.h"

#include <algorithm>
#include <functional>
#include <iterator>

#include "reservations/waits.h"

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

// What began by then has not ended the job, nor will it. Slurm ends a job some time after its limit.
sys_seconds heeded_since(const ClusterJob& job, sys_seconds now) {
  constexpr std::chrono::seconds kEndsLate{120};
  if (!job.end) return now;
  const bool over = job.state == JobState::kFinished;
  return std::min(now, *job.end - (over ? kEndsLate : std::chrono::seconds{1}));
}

constexpr double kBoardLife = 2;  // seconds

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

std::optional<Plan> cut_for(const ClusterJob& job, const Plan& plan, const ReservationsOfNodes& reservations,
                            sys_seconds now) {
  const bool has_nodes = job.state != JobState::kPending && !job.nodes.empty();
  const auto own = has_nodes ? job.nodes : std::vector<std::string>{};
  const std::size_t count = has_nodes ? own.size() : std::max<std::size_t>(1, job.node_count);
  const sys_seconds since = has_nodes ? heeded_since(job, now) : now;
  std::vector<Segment> rooms;
  bool cut = false;
  for (const auto& segment : plan.segments) {
    const auto claims = claims_on(segment, reservations, since);
    const bool here = job.reservation == segment.reservation;
    auto parts = rooms_in(segment, claims, count, here ? own : std::vector<std::string>{}, since);
    cut = cut || !claims.empty();
    std::move(parts.begin(), parts.end(), std::back_inserter(rooms));
  }
  if (!cut) return std::nullopt;
  Plan as_cut = plan;
  as_cut.segments = std::move(rooms);
  return as_cut;
}

std::shared_ptr<const ReservationsOfNodes> ReservationBoard::of_nodes() {
  struct Seen {
    std::vector<ClusterReservation> reservations;
    ReservationsOfNodes of_nodes;
  };
  const std::lock_guard lock(mutex_);
  if (seen_ && waits_until(loaded_ + kBoardLife, kBoardLife, now_())) return seen_;
  const auto seen = std::make_shared<Seen>();
  seen->reservations = cluster_.reservations();
  seen->of_nodes = by_node(seen->reservations);
  loaded_ = now_();
  seen_ = std::shared_ptr<const ReservationsOfNodes>(seen, &seen->of_nodes);
  return seen_;
}

}  // namespace stint::reservations
