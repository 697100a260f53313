// SPDX-License-Identifier: Apache-2.0
#include "reservations/failures.h"

#include <fmt/format.h>
#include <algorithm>
#include <cmath>
#include <thread>

#include "base/contract.h"
#include "base/log.h"
#include "reservations/waits.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

// A job that starts in the second of its requeue is refused by its nodes and lost for good.
constexpr seconds kSafeDistance{2};
// Slurm's own hold after a requeue (AuthInfo cred_expire + 1) is never longer than this.
constexpr seconds kLongestHold{600};
constexpr double kNodeTableLife = 5.0;
constexpr double kPushEvery = 2.0;  // a job that does not leave its dead node is requeued again
constexpr double kPatience = 30.0;  // after that a waiting job is looked at every kSlowLook seconds
constexpr double kSlowLook = 2.0;
constexpr std::chrono::milliseconds kBetweenProbes{100};
constexpr std::size_t kWitnesses = 8;

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool tagged(const ClusterJob& job) {
  const auto tag = contract::parse_job_tag(job.admin_comment);
  return !tag.plan.empty() || !tag.recipe.empty();
}

std::int64_t unix_of(sys_seconds time) {
  return time.time_since_epoch().count();
}

}  // namespace

Failures::Failures(Cluster& cluster, Ledger& ledger, Metrics& metrics, Prober& prober,
                   FailureSettings settings, Now now)
    : cluster_(cluster),
      ledger_(ledger),
      metrics_(metrics),
      prober_(prober),
      settings_(settings),
      now_(std::move(now)),
      dead_nodes_(settings.probes_needed, settings.restart_grace) {}

void Failures::watch_once() {
  std::vector<ClusterJob> jobs = cluster_.jobs();
  std::erase_if(jobs, [](const ClusterJob& job) { return !tagged(job); });
  std::set<std::string> nodes;
  for (const auto& job : jobs) {
    if (job.state != JobState::kRunning) continue;
    nodes.insert(job.nodes.begin(), job.nodes.end());
  }
  const auto targets = targets_of(nodes);
  const auto answers = prober_.probe(targets, settings_.probe_timeout);
  for (const auto& node : dead_nodes_.add_round(targets, answers, now_())) {
    note_dead(node, jobs, "slurmd does not answer");
  }
  note_requeued_by_others(jobs);
  std::map<std::uint32_t, std::vector<std::string>> ran_on;
  for (const auto& job : jobs) {
    ran_on[job.id] = job.state == JobState::kRunning ? job.nodes : ran_on_[job.id];
  }
  ran_on_ = std::move(ran_on);
}

void Failures::refresh_nodes(const std::set<std::string>& wanted) {
  const bool known =
      std::all_of(wanted.begin(), wanted.end(), [&](const auto& n) { return nodes_.contains(n); });
  if (known && waits_until(nodes_loaded_ + kNodeTableLife, kNodeTableLife, now_())) return;
  nodes_.clear();
  for (auto& node : cluster_.nodes()) nodes_[node.name] = node;
  nodes_loaded_ = now_();
}

// The nodes first; when they are few, other nodes follow as witnesses that this machine's network works.
std::vector<ProbeTarget> Failures::targets_of(const std::set<std::string>& nodes) {
  std::vector<ProbeTarget> targets;
  if (nodes.empty()) return targets;
  const std::lock_guard lock(mutex_);
  refresh_nodes(nodes);
  for (const auto& name : nodes) {
    const auto found = nodes_.find(name);
    if (found != nodes_.end()) targets.push_back({name, found->second.address, found->second.port});
  }
  for (const auto& [name, node] : nodes_) {
    if (targets.size() >= kWitnesses) break;
    if (nodes.contains(name) || !node.usable()) continue;
    targets.push_back({name, node.address, node.port});
  }
  return targets;
}

void Failures::note_dead(const std::string& node, const std::vector<ClusterJob>& jobs,
                         const std::string& why) {
  bool news = false;
  for (const auto& job : jobs) {
    if (job.state != JobState::kRunning || !contains(job.nodes, node)) continue;
    news = begin_recovery(job, node, Recovery::Step::kDown, why) || news;
  }
  if (news) metrics_.count_failure();
}

// Slurm noticed a failure first, an admin set a node down, or a job asked for its own requeue: the job would
// wait for as long as its old credential lives.
void Failures::note_requeued_by_others(const std::vector<ClusterJob>& jobs) {
  const auto now = sys_seconds{seconds{static_cast<std::int64_t>(now_())}};
  for (const auto& job : jobs) {
    const bool held_by_slurm = job.state == JobState::kPending && job.restart > 0 && job.begin_time_hold &&
                               job.begin > now + kSafeDistance && job.begin - job.queued <= kLongestHold;
    if (!held_by_slurm || ledger_.recovers(job.id, job.restart - 1)) continue;
    ClusterJob before = job;
    before.restart = job.restart - 1;
    std::vector<std::string> down;
    {
      const std::lock_guard lock(mutex_);
      const auto& last = ran_on_[job.id];
      nodes_loaded_ = 0;
      refresh_nodes({});
      for (const auto& node : last) {
        const auto found = nodes_.find(node);
        if (found != nodes_.end() && found->second.down) down.push_back(node);
      }
    }
    if (down.empty()) begin_recovery(before, "", Recovery::Step::kRequeue, "requeued");
    for (const auto& node : down) begin_recovery(before, node, Recovery::Step::kRequeue, "DOWN in Slurm");
  }
}

bool Failures::begin_recovery(const ClusterJob& job, const std::string& node, Recovery::Step step,
                              const std::string& why) {
  Recovery recovery;
  recovery.job = job.id;
  recovery.restart = job.restart;
  recovery.node = node;
  recovery.step = step;
  recovery.noticed = now_();
  if (!ledger_.add_recovery(recovery, job.queued)) return false;
  if (!node.empty()) {
    spdlog::warn("job {}: node {} is lost: {}", job.id, node, why);
    add_event(job.id, "node_failed", node, why);
  }
  return true;
}

bool Failures::handled(std::uint32_t job, const std::string& node) const {
  const auto open = ledger_.open_recoveries();
  return std::any_of(open.begin(), open.end(),
                     [&](const Recovery& r) { return r.job == job && r.node == node; });
}

Verdict Failures::report(std::uint32_t id, const std::string& node, const std::string& why,
                         std::uint32_t uid) {
  const auto job = cluster_.job(id);
  if (!job) refuse(404, "job {}: Slurm does not know it", id);
  if (job->uid != uid && !cluster_.is_operator(uid)) refuse(403, "job {}: is not yours", id);
  if (!tagged(*job)) refuse(409, "job {}: was not submitted with --training-plan or --recipe", id);
  Verdict down{"down", fmt::format("node {} is set DOWN and job {} is requeued without it", node, id)};
  if (handled(id, node)) return down;
  if (job->state != JobState::kRunning || !contains(job->nodes, node)) {
    refuse(409, "job {}: does not run on node '{}'", id, node);
  }
  DeadNodes dead(settings_.probes_needed, std::chrono::milliseconds{});  // its agents have missed it too
  const auto targets = targets_of({node});
  bool is_dead = false;
  Answer last = Answer::kUnknown;
  for (int i = 0; i < settings_.probes_needed; ++i) {
    if (i > 0) std::this_thread::sleep_for(kBetweenProbes);
    const auto answers = prober_.probe(targets, settings_.probe_timeout);
    last = answers.empty() ? Answer::kUnknown : answers.front();
    if (last == Answer::kAlive) break;
    is_dead = contains(dead.add_round(targets, answers, now_()), node);
  }
  if (is_dead) {
    note_dead(node, {*job}, why.empty() ? "reported by its job; slurmd does not answer" : why);
    return down;
  }
  if (last == Answer::kAlive) {
    return {"healthy",
            fmt::format("slurmd of node {} answers: restart the step in the same allocation", node)};
  }
  return {"unknown", fmt::format("node {} cannot be judged from here: wait for Slurm", node)};
}

bool Failures::recover_once() {
  const auto open = ledger_.open_recoveries();
  std::erase_if(progress_, [&](const auto& entry) {
    return std::none_of(open.begin(), open.end(), [&](const Recovery& r) { return r.id == entry.first; });
  });
  for (const auto& recovery : open) {
    auto& progress = progress_[recovery.id];
    if (progress.step_began == 0) progress.step_began = now_();
    if (waits_until(progress.next_look, kSlowLook, now_())) continue;
    try {
      advance(recovery);
    } catch (const ClusterError& error) {
      // The intent stays in the ledger; the next round tries again.
      metrics_.count_cluster_error();
      if (error.code() == ClusterError::Code::kMissing) {
        finish(recovery, "gone", error.what());
        continue;
      }
      spdlog::warn("job {}: {} (step {}); trying again", recovery.job, error.what(),
                   to_string(recovery.step));
      progress_[recovery.id].next_look =
          now_() + (error.code() == ClusterError::Code::kRefused ? kSlowLook : 0);
    }
  }
  return !open.empty();
}

void Failures::advance(const Recovery& recovery) {
  const auto job = cluster_.job(recovery.job);
  if (!job || job->state == JobState::kFinished) {
    // A dead node is set DOWN all the same: the next job must not be started there.
    if (recovery.step == Recovery::Step::kDown)
      cluster_.set_node_down(recovery.node, "stint: slurmd does not answer");
    finish(recovery, "gone", job ? "the job has ended" : "Slurm no longer knows the job");
    return;
  }
  switch (recovery.step) {
    case Recovery::Step::kDown:
      return take_down(recovery, *job);
    case Recovery::Step::kRequeue:
      return await_requeue(recovery, *job);
    case Recovery::Step::kHold:
      return hold(recovery, *job);
    case Recovery::Step::kStart:
      return await_start(recovery, *job);
    case Recovery::Step::kDone:
      return;
  }
}

void Failures::take_down(const Recovery& recovery, const ClusterJob& job) {
  cluster_.set_node_down(recovery.node, fmt::format("stint: slurmd does not answer (job {})", job.id));
  add_event(job.id, "node_down", recovery.node, "DRAIN and DOWN in Slurm");
  move_to(recovery, Recovery::Step::kRequeue);
}

void Failures::await_requeue(const Recovery& recovery, const ClusterJob& job) {
  if (job.state == JobState::kCompleting) return;
  if (job.state == JobState::kPending) {
    add_event(job.id, "requeued", recovery.node, fmt::format("restart {}", job.restart));
    move_to(recovery, Recovery::Step::kHold);
    hold(recovery, job);
    return;
  }
  if (job.restart > recovery.restart) return await_start(recovery, job);
  push_requeue(recovery, job);
}

// Slurm ends the jobs of a node in the same call that sets it DOWN, unless they were told to go on without it
// or slurmctld was restarted from older state.
void Failures::push_requeue(const Recovery& recovery, const ClusterJob& job) {
  auto& progress = progress_[recovery.id];
  const double since = std::max(progress.step_began, progress.last_push);
  if (waits_until(since + kPushEvery, kPushEvery, now_())) return;
  progress.last_push = now_();
  const auto nodes = cluster_.nodes();
  const auto node =
      std::find_if(nodes.begin(), nodes.end(), [&](const auto& n) { return n.name == recovery.node; });
  if (node != nodes.end() && !node->down && contains(job.nodes, recovery.node)) {
    cluster_.set_node_down(recovery.node, fmt::format("stint: slurmd does not answer (job {})", job.id));
    return;
  }
  if (job.requeue) {
    cluster_.requeue_job(job.id);
  } else {
    finish(recovery, "gone", "the job runs on and may not be requeued");
  }
}

sys_seconds Failures::good_begin(const ClusterJob& job) const {
  const auto now = sys_seconds{seconds{static_cast<std::int64_t>(std::floor(now_()))}};
  return std::max(job.queued + kSafeDistance, now + seconds{1});
}

bool Failures::begin_is_good(const ClusterJob& job) const {
  return job.begin >= job.queued + kSafeDistance && job.begin <= good_begin(job) + kSafeDistance;
}

void Failures::hold(const Recovery& recovery, const ClusterJob& job) {
  if (job.state == JobState::kRunning) return await_start(recovery, job);
  if (job.state != JobState::kPending) return;
  const bool exclude = !recovery.node.empty() && !contains(job.excluded_nodes, recovery.node);
  if (exclude) {
    auto nodes = job.excluded_nodes;
    nodes.push_back(recovery.node);
    cluster_.set_job_excluded_nodes(job.id, nodes);
  }
  if (!begin_is_good(job)) cluster_.set_job_begin(job.id, good_begin(job));
  const auto now_held = cluster_.job(job.id);
  if (!now_held || now_held->state != JobState::kPending) return;
  const bool excluded = recovery.node.empty() || contains(now_held->excluded_nodes, recovery.node);
  if (!excluded || !begin_is_good(*now_held)) return;  // it did not hold: once more
  if (!recovery.node.empty())
    add_event(job.id, "excluded", recovery.node, "the job will not run there again");
  add_event(job.id, "eligible", recovery.node, fmt::format("may start at {}", unix_of(now_held->begin)));
  move_to(recovery, Recovery::Step::kStart);
}

void Failures::await_start(const Recovery& recovery, const ClusterJob& job) {
  if (job.state == JobState::kRunning && job.restart > recovery.restart) {
    // Without a node somebody asked for it, for example a run at the end of its segment.
    if (!recovery.node.empty()) metrics_.count_requeue(now_() - recovery.noticed);
    finish(recovery, "started", fmt::format("on {}", fmt::join(job.nodes, ",")));
    return;
  }
  // A slurmctld that was killed may come back with older state: the failure has not happened there yet.
  if (job.state == JobState::kRunning) return restart_recovery(recovery, job);
  if (job.state != JobState::kPending) return;
  const bool held_again = job.begin_time_hold && job.begin > good_begin(job) + kSafeDistance &&
                          job.begin - job.queued <= kLongestHold;
  const bool may_return = !recovery.node.empty() && !contains(job.excluded_nodes, recovery.node);
  if (held_again || may_return) return move_to(recovery, Recovery::Step::kHold);
  auto& progress = progress_[recovery.id];
  if (now_() - progress.step_began > kPatience) progress.next_look = now_() + kSlowLook;
}

void Failures::restart_recovery(const Recovery& recovery, const ClusterJob& job) {
  if (contains(job.nodes, recovery.node)) return move_to(recovery, Recovery::Step::kDown);
  finish(recovery, "gone", "the job runs on without the node");
}

void Failures::finish(const Recovery& recovery, const std::string& event, const std::string& detail) {
  add_event(recovery.job, event, recovery.node, detail);
  ledger_.set_step(recovery.id, Recovery::Step::kDone);
}

void Failures::move_to(const Recovery& recovery, Recovery::Step step) {
  ledger_.set_step(recovery.id, step);
  progress_[recovery.id] = Progress{now_(), 0, 0};
}

void Failures::add_event(std::uint32_t job, const std::string& event, const std::string& node,
                         const std::string& detail) {
  ledger_.add_event({now_(), job, event, node, detail});
  spdlog::info("job {}: {}{}{}{}{}", job, event, node.empty() ? "" : " ", node, detail.empty() ? "" : ": ",
               detail);
}

}  // namespace stint::reservations
