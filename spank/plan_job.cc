// SPDX-License-Identifier: Apache-2.0
#include "spank/plan_job.h"

#include <algorithm>

#include "base/contract.h"
#include "base/error.h"
#include "base/gres.h"
#include "base/ini.h"
#include "base/text.h"

namespace stint::spank {
namespace {

using std::chrono::floor;
using std::chrono::seconds;

// Refusals travel as exceptions inside this file only.
struct Refused {
  Refusal refusal;
};

template <typename... Args>
[[noreturn]] void refuse(Cause cause, fmt::format_string<Args...> format, Args&&... args) {
  throw Refused{{cause, fmt::format(format, std::forward<Args>(args)...)}};
}

bool is_live(const PlanRow& plan) {
  return plan.state == "scheduled" || plan.state == "active";
}

// The same words for a plan that is not there and for another user's: names of plans are nobody's business.
[[noreturn]] void refuse_unknown(const std::string& name, std::uint32_t uid, const PlanTable& table) {
  std::vector<std::string> mine;
  for (const PlanRow& plan : table.plans) {
    if (plan.may_submit(uid)) mine.push_back(plan.name);
  }
  const std::string close = did_you_mean(name, mine);
  refuse(Cause::kPlan, "plan {}: is not one of your plans; {}", name,
         close.empty() ? "see 'stint plan list'" : "did you mean '" + close + "'?");
}

sys_seconds end_of(const PlanRow& plan) {
  sys_seconds end{};
  for (const SegmentRow& segment : plan.segments) end = std::max(end, segment.end);
  return end;
}

[[noreturn]] void refuse_ended(const PlanRow& plan) {
  if (!plan.segments.empty() && plan.segments.back().released) {
    refuse(Cause::kPlan,
           "plan {}: was released {}, for no job was in it ('stint plan history {}'); book another with "
           "'stint plan create'",
           plan.name, format_time(end_of(plan)), plan.name);
  }
  refuse(Cause::kPlan, "plan {}: ended {}; book another with 'stint plan create'", plan.name,
         format_time(end_of(plan)));
}

const PlanRow& find_plan(const std::string& name, std::uint32_t uid, const PlanTable& table) {
  const PlanRow* plan = table.find(name);
  if (!plan || !plan->may_submit(uid)) refuse_unknown(name, uid, table);
  if (plan->state == "cancelled" || plan->state == "failed") {
    refuse(Cause::kPlan, "plan {}: {}; book another with 'stint plan create'", name,
           plan->state == "cancelled" ? "was cancelled" : "failed");
  }
  if (plan->state == "pending") {
    refuse(Cause::kPlan,
           "plan {}: waits for approval; submit again when an approver has run 'stint plan approve {}'", name,
           name);
  }
  if (!is_live(*plan)) refuse_ended(*plan);
  return *plan;
}

sys_seconds earliest_start(const JobRequest& request, sys_seconds now) {
  return std::max(now, request.begin_time.value_or(now));
}

// The first segment with a whole minute left, Slurm's unit of time limits.
const SegmentRow& find_segment(const PlanRow& plan, sys_seconds start, sys_seconds now) {
  if (const SegmentRow* segment = plan.segment_at(start + seconds(59))) return *segment;
  if (!plan.segment_at(now)) refuse_ended(plan);
  refuse(
      Cause::kTime, "plan {}: ends {}, {}; book another with 'stint plan create'", plan.name,
      format_time(end_of(plan)),
      plan.segment_at(start) ? "less than a minute after the job could start" : "before the job's --begin");
}

void check_reservation(const JobRequest& request, const PlanRow& plan, const SegmentRow& segment) {
  if (request.reservation.empty() || request.reservation == segment.reservation) return;
  refuse(Cause::kReservation, "plan {}: the job belongs into reservation {}; drop --reservation", plan.name,
         segment.reservation);
}

void check_partition(const JobRequest& request, const PlanRow& plan) {
  if (request.partition.empty() || plan.partition.empty() || request.partition == plan.partition) return;
  refuse(Cause::kPartition, "plan {}: its nodes are in partition {}; drop --partition", plan.name,
         plan.partition);
}

std::uint32_t required_node_count(const JobRequest& request) {
  if (request.required_nodes.empty()) return 0;
  try {
    return static_cast<std::uint32_t>(parse_host_list(request.required_nodes).size());
  } catch (const Error&) {
    return 0;  // Slurm knows more forms than we do, and says what is wrong with the others
  }
}

std::string recipe_name(const JobRequest& request) {
  return request.environment.recipe.substr(0, request.environment.recipe.find('@'));
}

// A srun that brings its own node count lowers it to its tasks; from one that gets it here, slurmctld 22.05.8
// takes fewer tasks than nodes, divides by zero and dies.
void check_tasks(const JobRequest& request, std::uint32_t nodes) {
  if (!request.interactive || !request.tasks || *request.tasks >= nodes) return;
  refuse(Cause::kNodes, "recipe {}: wants {} nodes, the job has {} task{}; use -n {} or more, or -N {}",
         recipe_name(request), nodes, *request.tasks, *request.tasks == 1 ? "" : "s", nodes, *request.tasks);
}

void set_nodes(const JobRequest& request, JobChanges& changes) {
  if (request.min_nodes || !request.environment.nodes) return;
  check_tasks(request, *request.environment.nodes);
  changes.min_nodes = changes.max_nodes = request.environment.nodes;
}

// Slurm hands out as many nodes as the maximum allows: who asks for nothing gets its usual one.
bool asks_for_nothing(const JobRequest& request) {
  return !request.min_nodes && !request.environment.nodes && request.required_nodes.empty() &&
         request.tasks.value_or(1) == 1;
}

// No more than the plan's nodes: its spares stay free for the day a node dies.
void fit_nodes(const JobRequest& request, const PlanRow& plan, JobChanges& changes) {
  const auto limit = static_cast<std::uint32_t>(plan.nodes);
  set_nodes(request, changes);
  if (asks_for_nothing(request)) changes.min_nodes = changes.max_nodes = 1;
  const std::uint32_t asked = request.min_nodes.value_or(changes.min_nodes.value_or(1));
  const std::uint32_t wanted = std::max(asked, required_node_count(request));
  if (wanted > limit) {
    const char* source = changes.min_nodes ? "the recipe" : "the job";
    refuse(Cause::kNodes, "plan {}: has {} node{}, {} wants {}; use -N {} or book a larger plan", plan.name,
           limit, limit == 1 ? "" : "s", wanted == asked ? source : "the node list", wanted, limit);
  }
  const std::uint32_t most = request.max_nodes.value_or(std::max(wanted, request.tasks.value_or(limit)));
  changes.max_nodes = std::min(limit, changes.max_nodes.value_or(most));
}

// How many nodes the job will have, as far as it says so.
std::uint32_t nodes_of(const JobRequest& request, const PlanRow& plan) {
  const auto own = request.min_nodes ? request.min_nodes : request.environment.nodes;
  return own.value_or(std::min(static_cast<std::uint32_t>(plan.nodes), request.tasks.value_or(1)));
}

struct GpuWish {
  const char* who;
  std::int64_t count;
  std::int64_t has;
  std::string where;
  const char* option;
};

// What was priced, and no more: Slurm knows of no such bound, and where the nodes have too few it would only
// say that the node configuration is not available. Other resources than GPUs are its affair.
void check_gpus(const JobRequest& request, const PlanRow& plan) {
  if (!plan.gpus) return;
  const bool own = !request.gres.empty();
  const auto nodes = nodes_of(request, plan);
  const std::int64_t all = std::int64_t{*plan.gpus} * nodes;
  const auto together = fmt::format(" on {} node{}", nodes, nodes == 1 ? "" : "s");
  const GpuWish wishes[] = {
      {own ? "the job" : "the recipe", count_gpus(own ? request.gres : request.environment.gres), *plan.gpus,
       " a node", own ? "--gres or --gpus-per-node" : "resources.gres"},
      {"the job", count_gpus(request.gpus_per_job), all, together, "--gpus"},
      {"the job", std::int64_t{count_gpus(request.gpus_per_task)} * request.tasks.value_or(1), all, together,
       "--gpus-per-task"}};
  for (const auto& wish : wishes) {
    if (wish.count <= wish.has) continue;
    refuse(Cause::kGres, "plan {}: has {} GPU{}{}, {} wants {}; lower {} or book nodes with more", plan.name,
           wish.has, wish.has == 1 ? "" : "s", wish.where, wish.who, wish.count, wish.option);
  }
  if (count_gpus(request.gpus_per_socket) > 0) {
    refuse(Cause::kGres, "plan {}: has {} GPU{} a node, whatever its sockets; use --gpus-per-node", plan.name,
           *plan.gpus, *plan.gpus == 1 ? "" : "s");
  }
}

minutes room(const SegmentRow& segment, sys_seconds start) {
  return floor<minutes>(segment.end - std::max(start, segment.start));
}

WallLimits::Bound bound_of(const JobRequest& request, const PlanRow& plan, const WallLimits& limits) {
  return limits.bound({request.uid, request.account, request.qos},
                      {plan.partition, plan.max_time, plan.partition_qos});
}

void fit_time(const JobRequest& request, const PlanRow& plan, const SegmentRow& segment, sys_seconds start,
              const WallLimits::Bound& bound, JobChanges& changes) {
  minutes left = room(segment, start);
  const bool by_slurm = bound.most && *bound.most < left;
  if (by_slurm) left = *bound.most;
  if (by_slurm && request.time_min && *request.time_min > left) {
    refuse(Cause::kTime, "plan {}: {} allows {} at most; lower --time-min", plan.name, bound.by,
           format_duration(left));
  }
  if (request.time_min && *request.time_min > left) {
    refuse(Cause::kTime, "plan {}: ends {}, {} minute{} after the job could start; lower --time-min",
           plan.name, format_time(segment.end), left.count(), left.count() == 1 ? "" : "s");
  }
  const std::optional<minutes> wish =
      request.time_limit ? request.time_limit : request.environment.time_limit;
  changes.time_limit = std::min(left, wish.value_or(left));
  if (request.time_limit && *request.time_limit > left) {
    changes.note = fmt::format("plan {}: time limit cut to {}; {}", plan.name, format_duration(left),
                               by_slurm ? bound.by + " allows no more"
                                        : fmt::format("the plan's time ends {}", format_time(segment.end)));
  }
}

void check_form(const JobRequest& request) {
  const JobEnvironment& job = request.environment;
  const std::string recipe = recipe_name(request);
  const std::string subject = job.plan.empty() ? "recipe " + recipe : "plan " + job.plan;
  if (request.heterogeneous) {
    refuse(Cause::kOther, "{}: heterogeneous jobs cannot use it; submit the parts as jobs of their own",
           subject);
  }
  if (request.lost_recipe) {
    refuse(Cause::kOther,
           "recipe {}: is missing from the job's environment; --export-file drops it, use --export", recipe);
  }
}

void set_common(const JobRequest& request, JobChanges& changes) {
  if (request.gres.empty()) changes.gres = request.environment.gres;
  changes.admin_comment = contract::format_job_tag({request.environment.plan, request.environment.recipe});
  // What stintd cannot find out later: the wishes of the user that the plan's times stand in for.
  if (request.environment.plan.empty()) return;
  const auto wish = request.time_limit ? request.time_limit : request.environment.time_limit;
  if (wish) changes.admin_comment += fmt::format(" time={}", wish->count());
  if (request.own_signal) changes.admin_comment += " signal=own";
}

// A job that waits because what was left of the segment before went to others.
void note_release(const PlanRow& plan, const SegmentRow& segment, sys_seconds now, JobChanges& changes) {
  const auto next = std::find_if(plan.segments.begin(), plan.segments.end(), [&](const SegmentRow& other) {
    return other.reservation == segment.reservation;
  });
  if (segment.start <= now || next == plan.segments.begin() || !std::prev(next)->released) return;
  if (!changes.note.empty()) return;
  changes.note = fmt::format("plan {}: was released {} until {}, for no job was in it; the job waits",
                             plan.name, format_time(std::prev(next)->end), format_time(segment.start));
}

JobChanges plan_changes(const JobRequest& request, const PlanTable& table, sys_seconds now) {
  check_form(request);
  const PlanRow& plan = find_plan(request.environment.plan, request.uid, table);
  const sys_seconds start = earliest_start(request, now);
  const SegmentRow& segment = find_segment(plan, start, now);
  check_reservation(request, plan, segment);
  check_partition(request, plan);
  check_gpus(request, plan);
  JobChanges changes;
  fit_nodes(request, plan, changes);
  fit_time(request, plan, segment, start, bound_of(request, plan, table.limits), changes);
  note_release(plan, segment, now, changes);
  set_common(request, changes);
  changes.reservation = segment.reservation;
  if (request.partition.empty()) changes.partition = plan.partition;
  return changes;
}

JobChanges recipe_changes(const JobRequest& request) {
  check_form(request);
  JobChanges changes;
  set_nodes(request, changes);
  if (!request.time_limit) changes.time_limit = request.environment.time_limit;
  set_common(request, changes);
  return changes;
}

}  // namespace

Decision decide_plan_job(const JobRequest& request, const PlanTable& table, sys_seconds now) {
  try {
    return plan_changes(request, table, now);
  } catch (const Refused& refused) {
    return refused.refusal;
  }
}

Decision decide_recipe_job(const JobRequest& request) {
  try {
    return recipe_changes(request);
  } catch (const Refused& refused) {
    return refused.refusal;
  }
}

std::optional<Refusal> check_move(std::uint32_t uid, const std::optional<std::string>& admin_comment,
                                  const std::string& reservation, const PlanTable& table, sys_seconds now) {
  if (admin_comment && contract::parse_job_tag(*admin_comment).plan.empty()) return std::nullopt;
  bool has_plan = false;
  for (const PlanRow& plan : table.plans) {
    if (!plan.may_submit(uid) || !is_live(plan)) continue;
    for (const SegmentRow& segment : plan.segments) {
      if (segment.end <= now) continue;
      if (segment.reservation == reservation) return std::nullopt;
      has_plan = true;
    }
  }
  if (!admin_comment && !has_plan) return std::nullopt;
  return Refusal{Cause::kReservation,
                 "reservation: a training plan's job cannot be moved out of its plan; cancel the job and "
                 "submit it again, with --training-plan=none for a job outside the plan"};
}

}  // namespace stint::spank
