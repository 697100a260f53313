// SPDX-License-Identifier: Apache-2.0
#include "reservations/course.h"

#include <algorithm>
#include <tuple>

#include "base/contract.h"
#include "base/error.h"
#include "base/text.h"

namespace stint::reservations {
namespace {

using std::chrono::minutes;
using std::chrono::sys_seconds;

constexpr std::string_view kRemark = " -- ";
constexpr std::int64_t kLongestWish = 10LL * 366 * 24 * 60;  // minutes

std::string_view tag_part(std::string_view admin_comment) {
  return admin_comment.substr(0, admin_comment.find(kRemark));
}

std::optional<minutes> minutes_in(std::string_view text) {
  try {
    return minutes{parse_integer(text, 1, kLongestWish)};
  } catch (const Error&) {
    return std::nullopt;
  }
}

minutes room_in(const Segment& segment, sys_seconds from) {
  return std::chrono::floor<minutes>(segment.end - std::max(from, segment.start));
}

}  // namespace

JobWishes parse_wishes(const std::string& admin_comment) {
  const std::string tag(tag_part(admin_comment));
  const auto parsed = contract::parse_job_tag(tag);
  JobWishes wishes;
  wishes.plan = parsed.plan;
  wishes.recipe = !parsed.recipe.empty();
  for (const auto& word : split(tag, ' ')) {
    if (word.starts_with("time=")) wishes.time = minutes_in(std::string_view(word).substr(5));
    if (word == "signal=own") wishes.own_signal = true;
  }
  return wishes;
}

std::string with_remark(const std::string& admin_comment, const std::string& remark) {
  std::string text(tag_part(admin_comment));
  if (!remark.empty()) text += std::string(kRemark) + remark;
  return text;
}

std::size_t number_of(const Segment& segment) {
  const auto dot = segment.reservation.rfind('.');
  return static_cast<std::size_t>(parse_integer(segment.reservation.substr(dot + 1), 0, INT32_MAX));
}

std::optional<std::size_t> segment_of(const Plan& plan, const std::string& reservation) {
  for (std::size_t k = 0; k < plan.segments.size(); ++k) {
    if (plan.segments[k].reservation == reservation) return k;
  }
  return std::nullopt;
}

std::optional<std::size_t> segment_for(const Plan& plan, const std::string& reservation, sys_seconds from) {
  const std::size_t earliest = segment_of(plan, reservation).value_or(0);
  for (std::size_t k = earliest; k < plan.segments.size(); ++k) {
    if (room_in(plan.segments[k], from) >= kLeastRoom) return k;
  }
  return std::nullopt;
}

minutes fitted_limit(const Segment& segment, sys_seconds from, const JobWishes& wishes,
                     std::optional<minutes> most) {
  minutes limit = room_in(segment, from);
  if (wishes.time) limit = std::min(limit, *wishes.time);
  if (most) limit = std::min(limit, *most);
  return std::max(limit, kLeastRoom);
}

bool rolls_over(const Plan& plan, std::size_t k, const std::vector<std::string>& nodes) {
  if (k + 1 >= plan.segments.size() || nodes.empty()) return false;
  const auto& next = plan.segments[k + 1];
  if (next.start > plan.segments[k].end) return false;
  return std::all_of(nodes.begin(), nodes.end(), [&](const std::string& node) {
    return std::find(next.nodes.begin(), next.nodes.end(), node) != next.nodes.end();
  });
}

JobEnd due_end(const ClusterJob& job, const JobWishes& wishes, const Segment& segment, const Leave& leave) {
  using Why = JobEnd::Why;
  const bool began_here = job.started >= segment.start;  // not moved into it, running
  const bool lowered = began_here && wishes.time && job.end && job.time_limit &&
                       *job.time_limit < fitted_limit(segment, job.started, wishes, leave.most);
  JobEnd due{segment.end, Why::kSegment};
  if (lowered && *job.end < due.at) due = {*job.end, Why::kWish};
  if (wishes.time && job.started + *wishes.time < due.at) due = {job.started + *wishes.time, Why::kWish};
  if (leave.most && !leave.exceeded && job.started + *leave.most < due.at)
    due = {job.started + *leave.most, Why::kLimit};
  return due;
}

JobEnd end_of(const ClusterJob& job, const JobEnd& due) {
  if (!job.end || *job.end + kEndSlack >= due.at) return due;
  return {*job.end, JobEnd::Why::kWish};
}

JobWindow window_of(const Plan& plan, std::size_t k, const ClusterJob& job, const JobEnd& end) {
  const auto& segment = plan.segments[k];
  JobWindow window;
  window.plan = plan.name;
  window.segment = number_of(segment);
  window.reservation = segment.reservation;
  window.ends = end.at;
  window.rolls_over = end.why == JobEnd::Why::kSegment && rolls_over(plan, k, job.nodes);
  window.next = segment_for(plan, segment.reservation, window.ends);
  if (window.next) {
    const auto& next = plan.segments[*window.next];
    window.next_reservation = next.reservation;
    window.next_start = std::max(next.start, window.ends);
  }
  return window;
}

nlohmann::json to_json(const JobWindow& window) {
  nlohmann::json json{{"plan", window.plan},
                      {"segment", window.segment},
                      {"reservation", window.reservation},
                      {"ends", window.ends.time_since_epoch().count()},
                      {"next_reservation", nullptr},
                      {"next_start", nullptr},
                      {"rolls_over", window.rolls_over}};
  if (window.next) {
    json["next_reservation"] = window.next_reservation;
    json["next_start"] = window.next_start->time_since_epoch().count();
  }
  return json;
}

std::set<std::uint32_t> without_place(std::vector<const ClusterJob*> jobs, std::size_t nodes,
                                      const std::set<std::uint32_t>& had_a_place) {
  const auto order = [&](const ClusterJob* job) {
    const bool waits = job->state == JobState::kPending;
    return std::tuple(waits, waits && !had_a_place.contains(job->id), waits ? job->queued : job->started,
                      job->id);
  };
  std::sort(jobs.begin(), jobs.end(),
            [&](const ClusterJob* a, const ClusterJob* b) { return order(a) < order(b); });
  std::set<std::uint32_t> outside;
  std::size_t left = nodes;
  for (const auto* job : jobs) {
    const std::size_t takes =
        job->state == JobState::kPending ? std::max(job->node_count, 1U) : job->nodes.size();
    if (takes <= left) {
      left -= takes;
    } else if (job->state != JobState::kCompleting) {
      outside.insert(job->id);
    } else {
      left = 0;
    }
  }
  return outside;
}

}  // namespace stint::reservations
