// SPDX-License-Identifier: Apache-2.0
#include "reservations/shepherd.h"

#include <fmt/format.h>
#include <algorithm>

#include "base/log.h"
#include "base/text.h"
#include "reservations/waits.h"

namespace stint::reservations {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using std::chrono::sys_seconds;

// Between the requeue of a job without a recipe and the end of its segment: its processes must be gone.
constexpr seconds kLeaveBefore{10};
// A job that ended so long before its segment, or warn_before, may have ended because of it.
constexpr seconds kClosing{120};
// Slurm looks for jobs that are over their limit, or their reservation's, every half minute.
constexpr seconds kEndsLate{120};
// Slurm looks at its queue when something happens, or once a minute: a job whose segment has begun is brought
// to its notice every so often, and for so long.
constexpr double kWakeEvery = 2;
constexpr seconds kWakeFor{60};
constexpr double kAfterRefusal = 10;
// Slurm's own hold after a requeue is never longer; it is shortened elsewhere.
constexpr seconds kRequeueHold{600};
// From a job's start until its end must have been set here; after that what Slurm says counts.
constexpr seconds kEndIsSetWithin{15};

std::int64_t unix_of(sys_seconds time) {
  return time.time_since_epoch().count();
}

std::string remark_of_waiting(const ClusterJob& job, const Plan& plan) {
  return with_remark(
      job.admin_comment,
      fmt::format("waits until nodes of plan {} are free: jobs before it have all {}, and its spares "
                  "stay free for failures",
                  plan.name, plan.nodes));
}

bool may_use(const Plan& plan, std::uint32_t uid) {
  return plan.uids.empty() || plan.may_use(uid);
}

}  // namespace

Shepherd::Shepherd(Cluster& cluster, Ledger& ledger, Metrics& metrics, ShepherdSettings settings, Now now)
    : cluster_(cluster),
      ledger_(ledger),
      metrics_(metrics),
      settings_(settings),
      now_(std::move(now)),
      limits_(cluster, now_),
      board_(cluster, now_) {}

sys_seconds Shepherd::now() const {
  return sys_seconds{seconds{static_cast<std::int64_t>(now_())}};
}

void Shepherd::tend_once() {
  auto jobs = cluster_.jobs();
  for (auto& job : cluster_.ended_jobs()) {
    if (job.requeue && job.batch && (job.timed_out || job.killed_by_warning)) jobs.push_back(std::move(job));
  }
  std::erase_if(jobs, [](const ClusterJob& job) { return parse_wishes(job.admin_comment).plan.empty(); });
  plans_.clear();
  forget_others(jobs);
  find_crowd(jobs);
  for (const auto& job : jobs) {
    const auto wait = look_again_.find(job.id);
    if (wait != look_again_.end() && waits_until(wait->second, kAfterRefusal, now_())) continue;
    try {
      tend(job);
    } catch (const ClusterError& error) {
      metrics_.count_cluster_error();
      if (error.code() == ClusterError::Code::kUnreachable) throw;
      const bool passes = error.code() == ClusterError::Code::kBusy;
      if (!passes) look_again_[job.id] = now_() + kAfterRefusal;
      if (!passes) spdlog::warn("job {}: {}; trying again", job.id, error.what());
    }
  }
}

void Shepherd::forget_others(const std::vector<ClusterJob>& jobs) {
  std::set<std::uint32_t> there;
  for (const auto& job : jobs) there.insert(job.id);
  const auto gone = [&](const auto& entry) { return !there.contains(entry.first); };
  std::erase_if(ended_, [&](const Stay& stay) { return !there.contains(std::get<0>(stay)); });
  std::erase_if(warned_, gone);
  std::erase_if(look_again_, gone);
  std::erase_if(placed_, gone);
  std::erase_if(woken_, gone);
  std::erase_if(homeless_, gone);
}

const std::optional<Plan>& Shepherd::newest_plan(const std::string& name) {
  auto [entry, is_new] = plans_.try_emplace(name);
  if (is_new) entry->second = ledger_.find_plan(name);
  return entry->second;
}

void Shepherd::tend(const ClusterJob& job) {
  const auto wishes = parse_wishes(job.admin_comment);
  const auto& plan = newest_plan(wishes.plan);
  if (!plan) return;
  if (plan->phase == Phase::kBooking || plan->phase == Phase::kCancelling) return;  // settled soon
  if (!may_use(*plan, job.uid)) return tend_stranger(job, plan->name);
  const auto cut = cut_for(job, *plan, *board_.of_nodes(), now());
  const Charge charge{job, cut ? *cut : *plan, wishes};
  if (job.state == JobState::kPending) tend_pending(charge);
  if (plan->phase != Phase::kBooked) return;
  if (job.state == JobState::kRunning) tend_running(charge);
  if (job.state == JobState::kFinished) tend_ended(charge);
}

// ---- spares

// Spares are not paid for, and stay free for failures: jobs of a plan have the plan's nodes, not more of its
// reservation.
void Shepherd::find_crowd(const std::vector<ClusterJob>& jobs) {
  std::map<std::pair<std::string, std::string>, std::vector<const ClusterJob*>>
      together;  // plan, reservation
  for (const auto& job : jobs) {
    if (job.state != JobState::kFinished && !job.reservation.empty())
      together[{parse_wishes(job.admin_comment).plan, job.reservation}].push_back(&job);
  }
  crowd_.clear();
  for (const auto& [where, members] : together) {
    const auto& plan = newest_plan(where.first);
    if (!plan || plan->phase != Phase::kBooked || plan->spares == 0) continue;
    std::set<std::uint32_t> had_a_place;
    for (const auto* job : members) {
      if (job->state == JobState::kPending && had_place(*job)) had_a_place.insert(job->id);
    }
    crowd_.merge(without_place(members, static_cast<std::size_t>(plan->nodes), had_a_place));
  }
}

// It was requeued, and not only because it had begun on a spare.
bool Shepherd::had_place(const ClusterJob& job) const {
  if (job.restart == 0) return false;
  const auto events = ledger_.events(job.id);
  return std::count_if(events.begin(), events.end(),
                       [](const auto& one) { return one.event == "sent_back"; }) < job.restart;
}

// Slurm started it before it could be held. Killed in between, the next stintd does the same; the remark
// comes before the hold, which without it would be taken for its owner's.
void Shepherd::send_back(const ClusterJob& job, const Plan& plan) {
  const bool comes_back = job.requeue && job.batch;
  const auto why = fmt::format("no node of plan {} is left, and its spares stay free for failures; it {}",
                               plan.name, comes_back ? "waits until there is room" : "is cancelled");
  const auto sent = time_of_event(job.id, "sent_back", {});
  if (!sent || *sent < static_cast<double>(unix_of(job.started))) add_event(job.id, "sent_back", why);
  if (comes_back) {
    cluster_.set_job_admin_comment(job.id, remark_of_waiting(job, plan));
    cluster_.requeue_job_held(job.id);
  } else {
    tell(job.id, fmt::format("stint: job {}: {}", job.id, why));
    cluster_.cancel_job(job.id);
  }
  look_again_[job.id] = now_() + kWakeEvery;
}

// Who cannot be told is not: what is done does not hang on it.
void Shepherd::tell(std::uint32_t job, const std::string& line) {
  try {
    cluster_.tell_job(job, line);
  } catch (const ClusterError& error) {
    if (error.code() == ClusterError::Code::kUnreachable) throw;
  }
}

void Shepherd::wait_for_place(const Charge& charge) {
  const auto& [job, plan, wishes] = charge;
  const auto remark = remark_of_waiting(job, plan);
  if (job.held && remark == job.admin_comment) return;
  if (!job.held) cluster_.hold_job(job.id);
  if (remark != job.admin_comment) cluster_.set_job_admin_comment(job.id, remark);
}

// ---- pending

void Shepherd::tend_pending(const Charge& charge) {
  const auto& job = charge.job;
  const bool by_slurm = job.restart > 0 && job.begin - job.queued <= kRequeueHold;
  const auto from = job.begin_time_hold && !by_slurm ? std::max(now(), job.begin) : now();
  const bool over = charge.plan.phase != Phase::kBooked;
  auto k = over ? std::nullopt : segment_for(charge.plan, job.reservation, from);
  if (!over && !k && from > now()) k = segment_for(charge.plan, job.reservation, now());
  if (!k) {
    const auto& name = charge.plan.name;
    return tend_homeless(
        job, {fmt::format("plan {} is over", name),
              fmt::format("the plan gets more time: stint plan extend {}", name), charge.plan.created});
  }
  place(charge, *k);
}

void Shepherd::place(const Charge& charge, std::size_t k) {
  const auto& job = charge.job;
  const auto& segment = charge.plan.segments[k];
  const auto fitted = fitted_limit(segment, now(), charge.wishes, limits_.of(job));
  const auto before = placed_.find(job.id);
  const bool moves =
      job.reservation != segment.reservation || (before != placed_.end() && before->second != segment.start);
  const bool too_long = !job.time_limit || *job.time_limit > fitted;
  auto& woken = woken_[job.id];
  const bool begun = segment.start <= now() && now() < segment.start + kWakeFor;
  const bool crowded = crowd_.contains(job.id);
  const bool wake =
      begun && !job.begin_time_hold && !crowded && !waits_until(woken + kWakeEvery, kWakeEvery, now_());
  if (moves || too_long || wake) {
    // Its owner may have lowered the limit: it is raised only with a move.
    cluster_.place_job(job.id, segment.reservation,
                       moves || too_long ? fitted : std::min(fitted, *job.time_limit));
    woken = now_();
  }
  placed_[job.id] = segment.start;
  if (crowded) return wait_for_place(charge);
  // A remark of ours came with a hold of ours.
  const auto plain = with_remark(job.admin_comment, "");
  const bool remarked = plain != job.admin_comment;
  if (job.held_without_plan || (remarked && job.held)) cluster_.release_job(job.id);
  if (remarked) cluster_.set_job_admin_comment(job.id, plain);
  homeless_.erase(job.id);
  if (moves || remarked) {
    add_event(job.id, "segment",
              fmt::format("waits for segment {} of plan {}, which begins {}", number_of(segment),
                          charge.plan.name, format_time(segment.start)));
  }
}

// Its plan was shared with its user and is no more, or is another one of the same name. Slurm would never
// start it, and hold it for ever once the reservation is gone. Without a reservation an operator has taken it
// out.
void Shepherd::tend_stranger(const ClusterJob& job, const std::string& plan) {
  if (job.state != JobState::kPending || (job.reservation.empty() && !job.held_without_plan)) return;
  tend_homeless(job, {fmt::format("its user may not use plan {}", plan),
                      fmt::format("the plan is shared with its user: stint plan share {} --add USER", plan),
                      {}});
}

// It waits for a plan that it has no more. Not lost at once: it may get it again, and then it goes on.
void Shepherd::tend_homeless(const ClusterJob& job, const Loss& loss) {
  auto since = homeless_.find(job.id);
  if (since == homeless_.end()) {
    auto known = time_of_event(job.id, "plan_over", loss.what);
    // An event of an earlier end of the plan, which went on since, does not count.
    const auto moved = time_of_event(job.id, "segment", {});
    if (known && moved && *moved > *known) known.reset();
    if (known && *known < static_cast<double>(unix_of(loss.earliest))) known.reset();
    if (!known) add_event(job.id, "plan_over", loss.what);
    since = homeless_.emplace(job.id, known.value_or(now_())).first;
  }
  const sys_seconds until{seconds{static_cast<std::int64_t>(since->second)} + settings_.keep_jobs};
  if (now() >= until) {
    cluster_.cancel_job(job.id);
    add_event(job.id, "cancelled", fmt::format("{}, and that did not change", loss.what));
    look_again_[job.id] = now_() + kAfterRefusal;
    return;
  }
  const auto remark = with_remark(job.admin_comment, fmt::format("{}; this job is cancelled at {} unless {}",
                                                                 loss.what, format_time(until), loss.remedy));
  if (remark != job.admin_comment) cluster_.set_job_admin_comment(job.id, remark);
  if (!job.held) cluster_.hold_job(job.id);  // the last segment's last seconds are no time to start
}

// ---- running

void Shepherd::tend_running(const Charge& charge) {
  const auto& [job, plan, wishes] = charge;
  const auto in = segment_of(plan, job.reservation);
  if (!in) return;  // an operator took it out
  const std::size_t k = roll_over(charge, *in);
  const auto& segment = plan.segments[k];
  if (crowd_.contains(job.id)) return send_back(job, plan);
  if (segment.start > now() && !(k > 0 && rolls_over(plan, k - 1, job.nodes))) {
    // It is only on its way: moved to the next segment, and not requeued yet.
    const auto sent = wishes.recipe ? std::nullopt : time_of_event(job.id, "sent_on", {});
    if (sent && *sent >= static_cast<double>(unix_of(job.started))) cluster_.requeue_job(job.id);
    return;
  }
  const auto end = set_end(charge, segment);
  if (!wishes.recipe && end.why != JobEnd::Why::kWish) tend_script(charge, k, end);
}

std::size_t Shepherd::roll_over(const Charge& charge, std::size_t k) {
  const auto& [job, plan, wishes] = charge;
  const auto leave = leave_of(job);
  const auto has_all_of = [&](const Segment& segment) {
    return due_end(job, wishes, segment, leave).why == JobEnd::Why::kSegment;
  };
  while (rolls_over(plan, k, job.nodes) && now() + kRollAhead >= plan.segments[k].end &&
         has_all_of(plan.segments[k])) {
    const auto& next = plan.segments[k + 1];
    cluster_.set_job_reservation(job.id, next.reservation);
    ++k;
    add_event(job.id, "rolled_over",
              fmt::format("runs on in segment {} of plan {} until {}", number_of(next), plan.name,
                          format_time(next.end)));
  }
  return k;
}

// Once for each stay in a segment and each end that is due there: its owner may lower the limit. Slurm's
// limits are whole minutes: what a segment has beyond them is given here. Returns what holds then.
JobEnd Shepherd::set_end(const Charge& charge, const Segment& segment) {
  const auto& job = charge.job;
  const auto due = due_end(job, charge.wishes, segment, leave_of(job));
  const Stay stay{job.id, job.restart, segment.reservation, unix_of(due.at)};
  const bool too_late = !job.end || *job.end > segment.end;
  if (ended_.contains(stay) && !too_late) return end_of(job, due);
  const auto event =
      fmt::format("in {} until {}, restart {}", segment.reservation, format_time(due.at), job.restart);
  const bool to_do = too_late || (*job.end != due.at && !time_of_event(job.id, "may_run", event));
  if (to_do) {
    cluster_.set_job_end(job.id, due.at);
    add_event(job.id, "may_run", event);
  }
  ended_.insert(stay);
  return to_do ? due : end_of(job, due);
}

// A job whose program knows nothing of segments.
void Shepherd::tend_script(const Charge& charge, std::size_t k, const JobEnd& end) {
  const auto window = window_of(charge.plan, k, charge.job, end);
  if (window.rolls_over) return;
  if (now() + settings_.warn_before >= window.ends) warn(charge, k, window.ends);
  if (now() + kLeaveBefore >= window.ends && window.next && charge.job.requeue && charge.job.batch) {
    send_on(charge, k, *window.next);
  }
}

// At least once: a stintd that is killed in between sends it again.
void Shepherd::warn(const Charge& charge, std::size_t k, sys_seconds ends) {
  const auto& [job, plan, wishes] = charge;
  if (wishes.own_signal) return;
  if (warned_.contains({job.id, job.restart})) return;
  const auto event = fmt::format("SIGUSR1: its time in segment {} of plan {} ends {}, restart {}",
                                 number_of(plan.segments[k]), plan.name, format_time(ends), job.restart);
  if (!time_of_event(job.id, "warned", event)) {
    try {
      cluster_.warn_job(job.id);
    } catch (const ClusterError& error) {
      if (error.code() != ClusterError::Code::kMissing) throw;  // no step to warn
    }
    add_event(job.id, "warned", event);
  }
  warned_.insert({job.id, job.restart});
}

// First the word, then where it goes, then off: killed in between, the next round sees a job that was sent on
// and runs in a segment to come.
void Shepherd::send_on(const Charge& charge, std::size_t k, std::size_t next) {
  const auto& [job, plan, wishes] = charge;
  const auto& segment = plan.segments[next];
  if (next != k && segment.end <= plan.segments[k].end) return;
  const auto event = fmt::format("requeued for segment {} of plan {}, which begins {}", number_of(segment),
                                 plan.name, format_time(segment.start));
  const auto sent = time_of_event(job.id, "sent_on", event);
  if (!sent || *sent < static_cast<double>(unix_of(job.started))) add_event(job.id, "sent_on", event);
  cluster_.set_job_reservation(job.id, segment.reservation);
  cluster_.requeue_job(job.id);
}

// A program that does not know the warning dies of it; a run that could not save in time is ended by Slurm.
// Both go on, as if they had been requeued. Once the reservation is gone Slurm no longer says which it was.
void Shepherd::tend_ended(const Charge& charge) {
  const auto& [job, plan, wishes] = charge;
  const auto leave = leave_of(job);
  for (std::size_t k = 0; k < plan.segments.size(); ++k) {
    const auto& segment = plan.segments[k];
    const auto due = due_end(job, wishes, segment, leave);
    if (job.started >= segment.end || due.at <= segment.start || due.why == JobEnd::Why::kWish) continue;
    const bool by_segment = due.why == JobEnd::Why::kSegment;
    if (by_segment && rolls_over(plan, k, job.nodes)) continue;
    const auto lead = job.timed_out ? kEndSlack : std::max(kClosing, settings_.warn_before);
    if (job.end >= due.at - lead && job.end <= due.at + kEndsLate)
      return bring_back(charge, k, by_segment ? std::max(now(), segment.end) : now());
  }
}

// From segment k, to go on at `from` or later.
void Shepherd::bring_back(const Charge& charge, std::size_t k, sys_seconds from) {
  const auto& [job, plan, wishes] = charge;
  const auto next = segment_for(plan, plan.segments[k].reservation, from);
  if (!next) return;
  const auto& segment = plan.segments[*next];
  cluster_.requeue_job(job.id);
  add_event(job.id, "sent_on",
            fmt::format("{} ended it; requeued for segment {} of plan {}, which begins {}",
                        job.timed_out ? "the end of its time" : "the warning", number_of(segment), plan.name,
                        format_time(segment.start)));
  cluster_.place_job(job.id, segment.reservation, fitted_limit(segment, now(), wishes, limits_.of(job)));
}

// ---- for the service

JobWindow Shepherd::window(std::uint32_t id, std::uint32_t uid) {
  const auto job = cluster_.job(id);
  if (!job) refuse(404, "job {}: Slurm does not know it", id);
  if (job->uid != uid && !cluster_.is_operator(uid)) refuse(403, "job {}: is not yours", id);
  const auto wishes = parse_wishes(job->admin_comment);
  if (wishes.plan.empty()) refuse(409, "job {}: was not submitted with --training-plan", id);
  auto plan = ledger_.find_plan(wishes.plan);
  if (plan) {
    if (auto cut = cut_for(*job, *plan, *board_.of_nodes(), now())) plan = std::move(cut);
  }
  const auto k = plan ? segment_of(*plan, job->reservation) : std::nullopt;
  if (!k || !may_use(*plan, job->uid) || job->state != JobState::kRunning) {
    refuse(409, "job {}: does not run in a segment of plan {}", id, wishes.plan);
  }
  const auto due = due_end(*job, wishes, plan->segments[*k], leave_of(*job));
  const bool is_set = now() > job->started + kEndIsSetWithin;
  return window_of(*plan, *k, *job, is_set ? end_of(*job, due) : due);
}

std::optional<double> Shepherd::time_of_event(std::uint32_t job, const std::string& event,
                                              const std::string& detail) const {
  std::optional<double> latest;
  for (const auto& one : ledger_.events(job)) {
    if (one.event == event && (detail.empty() || one.detail == detail)) latest = one.t;
  }
  return latest;
}

void Shepherd::add_event(std::uint32_t job, const std::string& event, const std::string& detail) {
  ledger_.add_event({now_(), job, event, "", detail});
  spdlog::info("job {}: {}: {}", job, event, detail);
}

}  // namespace stint::reservations
