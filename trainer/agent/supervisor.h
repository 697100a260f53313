// SPDX-License-Identifier: Apache-2.0
// The batch side of a run: prepares the run directory, starts attempts one after the other until the run is
// finished, has to be requeued or cannot go on, and writes the report.
#pragma once

#include <functional>
#include <string>

#include "base/final_error.h"
#include "base/run_directory.h"
#include "recipes/recipe.h"
#include "trainer/agent/restart_policy.h"
#include "trainer/agent/segment_end.h"
#include "trainer/agent/setup.h"
#include "trainer/agent/step.h"

namespace stint::agent {

struct RunRequest {
  std::string frozen;  // the complete recipe text
  recipes::Recipe recipe;
  RunDirectory run;
  std::string job;  // a Slurm job id, or a name of this host's
  int restart = 0;
  std::string service_address;  // stintd's; may be empty
};

// The directory that [run] directory names: %j job, %n recipe name, %u user; a relative one stands under
// `base`. Throws Error on an unknown %.
RunDirectory run_directory(const recipes::Recipe& recipe, const std::string& job, const std::string& user,
                           const std::filesystem::path& base);

// Creates it and writes recipe.ini. The same recipe may be written by several agents at once. Throws Error
// when it holds another recipe (the directory's own name aside) or cannot be written.
void prepare_run_directory(const RunDirectory& run, const std::string& frozen);

// The log holds a finish event of the recipe's last step.
bool run_is_finished(const RunLog& log, const recipes::Recipe& recipe);

// Another job, with a folder in the rendezvous and alive as `is_alive` says, that uses the directory; empty:
// none. Folders of dead jobs are removed.
std::string other_user_of(const RunDirectory& run, const std::string& job,
                          const std::function<bool(const std::string&)>& is_alive);

// Writes the report, and says in one line where the run stands and how to go on. Of a run whose plan is over.
void tell_plan_over(const RunDirectory& run, const JobWindow& window, const std::string& service_address);

// Writes the report and prints it.
void finish_with_report(const RunDirectory& run, const std::string& service_address);

// How attempts are started; the commands of one attempt without the variables that the supervisor adds.
using AttemptCommands = std::function<std::vector<ChildCommand>()>;
// Puts the job back into the queue, into the named reservation of its plan (empty: where it is); true:
// accepted, and Slurm ends this process soon.
using Requeue = std::function<bool(const std::string& reservation)>;

// Returns the exit code of stint-train; kExitPlanOver where the run was stopped at the end of its plan.
// Throws FinalError when the directory cannot be used.
int supervise(const RunRequest& request, const AttemptCommands& commands, const Requeue& requeue);

// scontrol and squeue.
bool slurm_binds_tasks();  // a task plugin is configured, or nothing can be found out
bool requeue_slurm_job(const std::string& job, const std::string& reservation);
bool slurm_job_is_alive(const std::string& job);

}  // namespace stint::agent
