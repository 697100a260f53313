// SPDX-License-Identifier: Apache-2.0
#include "reservations/opening.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/text.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;
using State = NodeCheck::State;

constexpr std::string_view kSuffix = ".prep";
constexpr std::string_view kJobPrefix = "stint-check:";
constexpr std::size_t kLongestReason = 160;
constexpr std::string_view kReason = "stint: health check:";  // of every node that an opening drained

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

const NodeCheck* find_check(const OpeningScene& scene, const std::string& node) {
  const auto found = std::find_if(scene.checks.begin(), scene.checks.end(),
                                  [&](const NodeCheck& check) { return check.node == node; });
  return found == scene.checks.end() ? nullptr : &*found;
}

bool is_bad(const NodeCheck& check) {
  return check.state == State::kBad || check.state == State::kDrained;
}

// The segment that is opened, as the plan has it now; null: the plan has it no more, or nobody may have it.
const Segment* segment_of(const OpeningScene& scene) {
  const auto& plan = scene.plan;
  if (plan.phase != Phase::kBooked || scene.opening.k >= plan.segments.size()) return nullptr;
  const auto& segment = plan.segments[scene.opening.k];
  return opening_reservation(segment) == scene.opening.reservation ? &segment : nullptr;
}

const ClusterReservation* reservation_of(const OpeningScene& scene) {
  const auto found = scene.reservations.find(scene.opening.reservation);
  return found == scene.reservations.end() ? nullptr : &found->second;
}

std::vector<const ClusterJob*> jobs_of(const OpeningScene& scene) {
  std::vector<const ClusterJob*> jobs;
  for (const auto& job : scene.live) {
    if (job.reservation == scene.opening.reservation) jobs.push_back(&job);
  }
  return jobs;
}

// Nodes on which others run jobs, or which others have reserved for some of the time until the segment
// begins.
std::set<std::string> nodes_of_others(const OpeningScene& scene, const Segment& segment) {
  std::set<std::string> taken;
  for (const auto& job : scene.live) {
    if (job.reservation != scene.opening.reservation) taken.insert(job.nodes.begin(), job.nodes.end());
  }
  for (const auto& [name, reservation] : scene.reservations) {
    const bool meets = reservation.start < segment.start && scene.now < reservation.end;
    if (meets && name != scene.opening.reservation)
      taken.insert(reservation.nodes.begin(), reservation.nodes.end());
  }
  return taken;
}

// How many nodes of the cluster are drained by openings.
std::size_t out_for_health(const std::map<std::string, ClusterNode>& nodes) {
  return static_cast<std::size_t>(std::count_if(nodes.begin(), nodes.end(), [](const auto& node) {
    return node.second.drained && node.second.reason.starts_with(kReason);
  }));
}

// Those of the segment that stintd may have until it begins, in their order.
std::vector<std::string> free_nodes(const OpeningScene& scene, const Segment& segment) {
  const auto taken = nodes_of_others(scene, segment);
  std::vector<std::string> free;
  for (const auto& name : segment.nodes) {
    const auto node = scene.nodes.find(name);
    if (node != scene.nodes.end() && node->second.usable() && !taken.contains(name)) free.push_back(name);
  }
  return free;
}

class Steps {
 public:
  explicit Steps(const OpeningScene& scene)
      : scene_(scene),
        segment_(segment_of(scene)),
        reservation_(reservation_of(scene)),
        jobs_(jobs_of(scene)) {}

  OpeningDue take() {
    const bool deleted = scene_.opening.state == Opening::State::kReserved && reservation_ == nullptr;
    const bool over = segment_ == nullptr || scene_.rules.before == seconds{} ||
                      scene_.now >= segment_->start - kClearBefore;
    due_.seen = scene_.opening.state == Opening::State::kBegun && reservation_ != nullptr;
    judge(over || deleted);
    if (segment_ != nullptr && scene_.now < segment_->start) drain();
    if (over || deleted) {
      clear();
    } else {
      prepare();
    }
    return std::move(due_);
  }

 private:
  void judge(bool over) {
    for (const auto& check : scene_.checks) {
      if (check.state == State::kAsked) judge(check, over);
    }
  }

  // Of a check that was asked for: has its job ended, and how?
  void judge(const NodeCheck& check, bool over) {
    const auto* live = job_of(check);
    if (live != nullptr && live->id != check.job) due_.adopt.emplace_back(check.node, live->id);
    const auto ended = scene_.ended.find(check.job);
    if (live != nullptr && live->exit_status) return judge_status(check, *live->exit_status);
    if (live != nullptr) return judge_live(check, *live, over);
    if (ended != scene_.ended.end() && ended->second.exit_status) {
      judge_status(check, *ended->second.exit_status);
    } else if (ended != scene_.ended.end() && ended->second.timed_out &&
               watched(ended->second, ended->second.end.value_or(scene_.now)) >= scene_.rules.check_limit) {
      due_.outcomes.push_back({check.node, State::kBad, "its health check did not end"});
    } else if (check.job != 0) {
      due_.outcomes.push_back({check.node, State::kUnknown, "its health check was cut off"});
    } else if (over) {
      due_.outcomes.push_back({check.node, State::kUnknown, scene_.opening.note});
    } else if (segment_ != nullptr && contains(segment_->nodes, check.node)) {
      again_.insert(check.node);  // stintd ended before it was submitted, or Slurm did not take it
    }
  }

  void judge_status(const NodeCheck& check, int status) {
    constexpr int kCannotRun = 126, kNotThere = 127;  // a shell's own
    std::string found;
    if (status == kCannotRun || status == kNotThere) {
      found = fmt::format("Stint cannot be run there (status {})", status);
    } else if (status != 0) {
      found = fmt::format("its health check ended with status {}", status);
    }
    due_.outcomes.push_back({check.node, status == 0 ? State::kGood : State::kBad, found});
  }

  // How long it is known to have run until then.
  seconds watched(const ClusterJob& job, sys_seconds until) const {
    return until - std::max(job.started, scene_.watched_since);
  }

  void judge_live(const NodeCheck& check, const ClusterJob& job, bool over) {
    const bool wanted = segment_ != nullptr && contains(segment_->nodes, check.node);
    const bool runs = job.state == JobState::kRunning;
    const auto ran = watched(job, scene_.now);
    if (runs && ran >= scene_.rules.check_limit) {
      due_.outcomes.push_back(
          {check.node, State::kBad, fmt::format("its health check did not end within {} s", ran.count())});
    } else if (over || !wanted) {
      due_.outcomes.push_back(
          {check.node, State::kUnknown,
           runs ? "no time was left for its health check" : "its health check did not start"});
    } else {
      running_.insert(check.node);
      // While its time limit reaches into the segment, Slurm lets no node of the segment be swapped.
      const bool reaches = job.end && *job.end > segment_->start - kClearBefore;
      if (runs && reaches) due_.shorten.push_back(job.id);
      return;
    }
    due_.cancel.push_back(job.id);
  }

  const ClusterJob* job_of(const NodeCheck& check) const {
    for (const auto* job : jobs_) {
      if (job->id == check.job || (check.job == 0 && job->name == check_job_name(check.node))) return job;
    }
    return nullptr;
  }

  void drain() {
    auto drained = static_cast<std::size_t>(
        std::count_if(scene_.checks.begin(), scene_.checks.end(),
                      [](const NodeCheck& check) { return check.state == State::kDrained; }));
    auto out = out_for_health(scene_.nodes);
    for (const auto& check : scene_.checks) {
      if (check.state != State::kBad || drained >= most_drained(segment_->nodes.size()) ||
          out >= most_drained(scene_.nodes.size()))
        continue;
      ++drained;
      ++out;
      due_.drain.emplace_back(check.node,
                              fmt::format("{} {}; verify", kReason, check.found.substr(0, kLongestReason)));
    }
  }

  // Wakes, reserves and checks what is free.
  void prepare() {
    const auto free = free_nodes(scene_, *segment_);
    for (const auto& name : free) {
      if (scene_.nodes.at(name).asleep) due_.wake.push_back(name);
    }
    if (!scene_.opening.note.empty()) return;  // Slurm has refused the rest
    const auto there = reservation_ == nullptr ? std::vector<std::string>{} : reservation_->nodes;
    for (const auto& name : free) {
      const auto& node = scene_.nodes.at(name);
      if (!contains(there, name)) continue;
      const bool ready = node.idle && !node.asleep && !node.waking;
      const auto* check = find_check(scene_, name);
      if (ready && (check == nullptr || again_.contains(name)) &&
          running_.size() + due_.check.size() < kMostChecksAtOnce)
        due_.check.push_back(name);
    }
    reserve(free, there);
  }

  // A node in which a check still runs cannot leave the reservation; the segment may have moved.
  void reserve(const std::vector<std::string>& free, const std::vector<std::string>& there) {
    std::set<std::string> wanted(free.begin(), free.end());
    for (const auto& name : there) {
      const bool busy = std::any_of(jobs_.begin(), jobs_.end(),
                                    [&](const ClusterJob* job) { return contains(job->nodes, name); });
      if (busy) wanted.insert(name);
    }
    const bool moved = reservation_ != nullptr && reservation_->end != segment_->start;
    if (wanted.empty() || (!moved && wanted == std::set<std::string>(there.begin(), there.end()))) return;
    due_.reserve.assign(wanted.begin(), wanted.end());
  }

  void clear() {
    for (const auto* job : jobs_) {
      if (job->state != JobState::kCompleting && !contains(due_.cancel, job->id))
        due_.cancel.push_back(job->id);
    }
    if (!jobs_.empty()) return;
    due_.remove = reservation_ != nullptr;
    due_.close = reservation_ == nullptr && due_.outcomes.empty() && due_.drain.empty() && !swap_is_due();
  }

  // The keeper has a moment for the nodes that were drained last.
  bool swap_is_due() const {
    if (segment_ == nullptr || scene_.now >= segment_->start) return false;
    return std::any_of(scene_.checks.begin(), scene_.checks.end(), [&](const NodeCheck& check) {
      return check.state == State::kDrained && contains(segment_->nodes, check.node);
    });
  }

  static bool contains(const std::vector<std::uint32_t>& ids, std::uint32_t id) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  }
  static bool contains(const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  }

  const OpeningScene& scene_;
  const Segment* segment_;
  const ClusterReservation* reservation_;
  std::vector<const ClusterJob*> jobs_;
  std::set<std::string> running_;  // nodes whose check is on its way
  std::set<std::string> again_;    // nodes whose check must be submitted once more
  OpeningDue due_;
};

// Why nobody has checked this node of the segment.
std::string why_unchecked(const OpeningScene& scene, const std::string& name,
                          const std::set<std::string>& taken) {
  const auto* check = find_check(scene, name);
  if (check != nullptr && !check->found.empty()) return check->found;
  if (!scene.opening.note.empty()) return scene.opening.note;
  if (taken.contains(name)) return "in use until then";
  const auto node = scene.nodes.find(name);
  if (node == scene.nodes.end()) return "Slurm does not know it";
  if (node->second.asleep || node->second.waking) return "it sleeps still";
  if (!node->second.usable()) return node->second.down ? "it is down" : "Slurm does not use it";
  return "no time was left";
}

// What the checks have found so far, a part for each kind of result.
std::vector<std::string> results(const std::vector<NodeCheck>& checks, const Segment& segment) {
  std::vector<std::string> parts;
  std::vector<std::string> good;
  for (const auto& check : checks) {
    const bool present = contains(segment.nodes, check.node);
    if (check.state == State::kGood && present) good.push_back(check.node);
    if (!is_bad(check)) continue;
    const std::string stays =
        check.state == State::kDrained
            ? std::string("stays: no other node is free")
            : std::string(
                  "stays: health checks drain at most a quarter of a plan's nodes, and of the cluster's, "
                  "or two; look whether the check is at fault");
    parts.push_back(
        fmt::format("{} is bad ({}) and {}", check.node, check.found, present ? stays : "was replaced"));
  }
  if (!good.empty()) parts.insert(parts.begin(), fmt::format("{} checked: good", format_host_list(good)));
  return parts;
}

}  // namespace

std::string opening_reservation(const Segment& segment) {
  return segment.reservation + std::string(kSuffix);
}

std::string check_job_name(const std::string& node) {
  return std::string(kJobPrefix) + node;
}

std::string node_of_check(const std::string& job_name) {
  return job_name.starts_with(kJobPrefix) ? job_name.substr(kJobPrefix.size()) : std::string{};
}

std::size_t most_drained(std::size_t nodes) {
  return std::max<std::size_t>(2, (nodes + 3) / 4);
}

bool opening_is_due(const Plan& plan, std::size_t k, const OpeningRules& rules, sys_seconds now) {
  if (rules.before == seconds{} || plan.phase != Phase::kBooked) return false;
  const auto& segment = plan.segments.at(k);
  if (now < segment.start - rules.before || now > segment.start - kLeastOpening) return false;
  if (k == 0 || plan.segments[k - 1].end + kLeastOpening <= segment.start) return true;
  const auto& held = plan.segments[k - 1].nodes;
  return std::any_of(segment.nodes.begin(), segment.nodes.end(),
                     [&](const std::string& node) { return !contains(held, node); });
}

OpeningDue opening_due(const OpeningScene& scene) {
  return Steps(scene).take();
}

OpeningSummary summarise(const OpeningScene& scene) {
  OpeningSummary summary;
  const auto* segment = segment_of(scene);
  if (segment == nullptr) {
    summary.text = "the plan has ended, or has changed";
    return summary;
  }
  auto parts = results(scene.checks, *segment);
  summary.all_well = std::none_of(scene.checks.begin(), scene.checks.end(), [&](const NodeCheck& check) {
    return is_bad(check) && contains(segment->nodes, check.node);
  });
  const auto taken = nodes_of_others(scene, *segment);
  std::map<std::string, std::vector<std::string>> unchecked;  // by reason
  for (const auto& node : segment->nodes) {
    const auto* check = find_check(scene, node);
    const bool judged = check != nullptr && (check->state == State::kGood || is_bad(*check));
    if (!judged) unchecked[why_unchecked(scene, node, taken)].push_back(node);
  }
  for (const auto& [why, nodes] : unchecked)
    parts.push_back(fmt::format("{} not checked: {}", format_host_list(nodes), why));
  summary.anything_checked =
      std::any_of(scene.checks.begin(), scene.checks.end(),
                  [](const NodeCheck& check) { return check.state == State::kGood || is_bad(check); });
  summary.text = fmt::format("{}", fmt::join(parts, "; "));
  return summary;
}

std::string progress_text(const std::vector<NodeCheck>& checks, const Segment& segment) {
  const auto parts = results(checks, segment);
  return parts.empty() ? "nothing is checked yet" : fmt::format("{}", fmt::join(parts, "; "));
}

}  // namespace stint::reservations
