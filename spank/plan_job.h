// SPDX-License-Identifier: Apache-2.0
// What becomes of a job that names a plan or a recipe: the rules of submit and of modify as pure functions.
// Knows nothing of Slurm's structures; job_submit.cc translates. No state, any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "base/plan_table.h"
#include "spank/job_environment.h"

namespace stint::spank {

using std::chrono::minutes;
using std::chrono::sys_seconds;

// What the job asks for; empty where its user said nothing.
struct JobRequest {
  std::uint32_t uid = 0;
  JobEnvironment environment;
  std::optional<std::uint32_t> min_nodes, max_nodes, tasks;
  std::optional<minutes> time_limit, time_min;
  std::optional<sys_seconds> begin_time;
  std::string reservation, partition, account, qos, required_nodes, gres;
  std::string gpus_per_job, gpus_per_task, gpus_per_socket;  // in Slurm's form, as gres
  bool interactive = false;                                  // salloc or srun: no batch script
  bool heterogeneous = false;
  bool own_signal = false;   // --signal
  bool lost_recipe = false;  // a batch job whose environment lacks the frozen recipe
};

// What to write into the job; an empty field stays as it is. Every such job is exclusive, can be requeued
// unless its user says no, and appends to its output besides.
struct JobChanges {
  std::optional<std::uint32_t> min_nodes, max_nodes;
  std::optional<minutes> time_limit;
  std::string reservation, partition, gres, admin_comment;
  std::string note;  // for the user, when a wish was cut
};

enum class Cause { kPlan, kReservation, kPartition, kNodes, kGres, kTime, kOther };

struct Refusal {
  Cause cause = Cause::kOther;
  std::string message;  // without the leading "stint: "
};

using Decision = std::variant<JobChanges, Refusal>;

// A job with a plan. It gets the segment that holds its earliest start, else the next one.
Decision decide_plan_job(const JobRequest& request, const PlanTable& table, sys_seconds now);

// A job with a recipe and no plan: an ordinary job whose size comes from the recipe.
Decision decide_recipe_job(const JobRequest& request);

// Whether `uid`, no operator, may move a job to `reservation` (empty: out of any). A plan's job, which its
// admin_comment names so, moves only between segments of the user's live plans; any other as Slurm allows.
// Where the admin_comment is not known (none) it may be a plan's job if the user has a live plan.
std::optional<Refusal> check_move(std::uint32_t uid, const std::optional<std::string>& admin_comment,
                                  const std::string& reservation, const PlanTable& table, sys_seconds now);

}  // namespace stint::spank
