// SPDX-License-Identifier: Apache-2.0
// The course of a job through its plan: where it belongs now, how long it may run there, what follows. Pure
// functions of a plan, a job and a time; knows nothing of Slurm's calls.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "reservations/cluster.h"
#include "reservations/plan.h"

namespace stint::reservations {

// Slurm's unit of time limits, and so the least time that a job is started for.
inline constexpr std::chrono::minutes kLeastRoom{1};
// A running job is moved into a segment that continues its own this long before: longer than any lead with
// which a run ends itself, so that it hears of it in time.
inline constexpr std::chrono::minutes kRollAhead{75};

// An end that Slurm has so much earlier than it should be is that end.
inline constexpr std::chrono::seconds kEndSlack{2};

// What stint needs of an admin_comment beside plan and recipe.
struct JobWishes {
  std::string plan;
  bool recipe = false;
  std::optional<std::chrono::minutes> time;  // the user's own time limit
  bool own_signal = false;                   // the user's own --signal: Slurm sends it
};
JobWishes parse_wishes(const std::string& admin_comment);
// The comment with a text for people behind the tag; an empty text takes it out. The tag stays readable.
std::string with_remark(const std::string& admin_comment, const std::string& remark);

// Which segment of its plan it is, by its reservation's name: rooms of one segment bear the same number.
std::size_t number_of(const Segment& segment);

// Index of the (first) segment that the reservation is, none: of another plan.
std::optional<std::size_t> segment_of(const Plan& plan, const std::string& reservation);

// Where a job that is not running belongs: the first segment with room from `from` on, yet not before the one
// it is in (its run left the earlier one on purpose). None: the plan is over for it.
std::optional<std::size_t> segment_for(const Plan& plan, const std::string& reservation,
                                       std::chrono::sys_seconds from);

// What Slurm's own limits leave a job (see JobLimits), and whether one that runs may exceed it.
struct Leave {
  std::optional<std::chrono::minutes> most;
  bool exceeded = true;
};

// What a job that starts at `from` or at the segment's start may have: the least of the segment's rest, its
// wish and Slurm's own limits, in whole minutes, at least one.
std::chrono::minutes fitted_limit(const Segment& segment, std::chrono::sys_seconds from,
                                  const JobWishes& wishes, std::optional<std::chrono::minutes> most);

// Whether a job on these nodes runs from segment k into the next without a gap.
bool rolls_over(const Plan& plan, std::size_t k, const std::vector<std::string>& nodes);

// When a running job must be done, and why then: its segment ends, its owner wished no more, or Slurm's
// limits leave it no more in one go.
struct JobEnd {
  enum class Why { kSegment, kWish, kLimit };

  std::chrono::sys_seconds at{};
  Why why = Why::kSegment;
};
// What its end should be. A limit that its owner lowered before it started is a wish.
JobEnd due_end(const ClusterJob& job, const JobWishes& wishes, const Segment& segment, const Leave& leave);
// The same once it has been seen to: an end that Slurm has nevertheless earlier is the owner's.
JobEnd end_of(const ClusterJob& job, const JobEnd& due);

// Which of the jobs of one segment, running and pending, have no place in a plan of so many nodes: the last
// to start, and of those that wait the last in the queue, where one that had a place before, as until its
// node died, stands before all that never did. A reservation cannot keep nodes from its own jobs.
std::set<std::uint32_t> without_place(std::vector<const ClusterJob*> jobs, std::size_t nodes,
                                      const std::set<std::uint32_t>& had_a_place);

// The window of a running job, for those who must save before it closes.
struct JobWindow {
  std::string plan;
  std::size_t segment = 0;  // its number
  std::string reservation;
  std::chrono::sys_seconds ends{};
  std::optional<std::size_t> next;  // index of where to go on; the same one where only a time limit ends
  std::string next_reservation;
  std::optional<std::chrono::sys_seconds> next_start;
  bool rolls_over = false;  // goes on running past `ends`: it is moved before
};
JobWindow window_of(const Plan& plan, std::size_t k, const ClusterJob& job, const JobEnd& end);
nlohmann::json to_json(const JobWindow& window);

}  // namespace stint::reservations
