// SPDX-License-Identifier: Apache-2.0
// The names by which programs of the project speak to each other through Slurm and the environment.
// Kept in one place because a client, slurmctld, stintd and a compute node must agree on them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace stint::contract {

// Plain environment of the job, set by the SPANK plugin in the submitting client. The prefix SLURM_ is what
// carries them through every --export mode.
inline constexpr char kRecipeEnv[] = "SLURM_STINT_RECIPE";    // the complete frozen recipe text (INI)
inline constexpr char kPlanEnv[] = "SLURM_STINT_PLAN";        // plan name
inline constexpr char kAddressEnv[] = "SLURM_STINT_ADDRESS";  // stintd's host:port at submit
inline constexpr std::size_t kMaxRecipeBytes = 96 * 1024;

// Job control environment (spank_job_control_setenv): all that job_submit reads beside the options.
inline constexpr char kControlNodes[] = "STINT_NODES";           // node count of the recipe, decimal
inline constexpr char kControlGres[] = "STINT_GRES";             // per node, Slurm's own form, e.g. gpu:8
inline constexpr char kControlTimeLimit[] = "STINT_TIME_LIMIT";  // minutes, decimal
inline constexpr char kControlRecipe[] = "STINT_RECIPE";         // name@hash

inline constexpr char kPluginName[] = "stint";  // SPANK plugin and its options
inline constexpr char kPlanOption[] = "training-plan";
inline constexpr char kRecipeOption[] = "recipe";
inline constexpr char kOptOut[] = "none";  // --training-plan=none

// Configuration of every program and of the plugins' client half.
inline constexpr char kConfigEnv[] = "STINT_CONF";  // else:
inline constexpr char kConfigPath[] = "/etc/stint/stint.conf";

// The plan table, beside Slurm's state (StateSaveLocation).
inline constexpr char kPlanTableFile[] = "stint_plans.ini";

// The line of a job's output with which stint-train says where its run is; 'stint run watch JOB' looks for
// it.
inline constexpr std::string_view kRunDirectoryLine = "stint-train: run directory ";

// Exit codes of stint-train and stint-worker.
inline constexpr int kExitFinished = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitRequeue = 75;       // stopped on purpose: requeue me
inline constexpr int kExitDoNotRequeue = 93;  // recipe error, or restarts without progress

// A job's admin_comment: "stint plan=demo recipe=tiny-llama@1a2b3c4d" (either part may be missing).
struct JobTag {
  std::string plan;
  std::string recipe;
};
std::string format_job_tag(const JobTag& tag);
// Empty fields where the text is not one of ours.
JobTag parse_job_tag(const std::string& admin_comment);

// The Slurm reservation of segment k of a plan: "<plan>.<k>".
std::string reservation_name(const std::string& plan, int segment);

}  // namespace stint::contract
