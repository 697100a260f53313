// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/supervisor.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <set>
#include <system_error>

#include "base/contract.h"
#include "base/final_error.h"
#include "base/ini.h"
#include "base/one_line.h"
#include "base/process.h"
#include "base/run_report.h"
#include "trainer/training_text.h"

namespace stint::agent {
namespace {

using std::chrono::milliseconds;

// A step that nobody explains may mean that Slurm is about to end the job: give its SIGTERM time to come. Not
// so long after a SIGKILL, which Slurm does not begin with; longer when srun could not start a single agent.
constexpr milliseconds kUnexplainedPause{2000};
constexpr milliseconds kKilledPause{300};
constexpr milliseconds kNotStartedPause{5000};
// scontrol requeue has been accepted: the SIGTERM that must follow.
constexpr std::chrono::seconds kRequeueWait{60};
constexpr std::chrono::seconds kScontrolTimeout{30};

void say(const std::string& text) {
  std::puts(("stint-train: " + text).c_str());
  std::fflush(stdout);
}

std::filesystem::path attempt_folder(const RunRequest& request, int attempt) {
  return request.run.rendezvous() / fmt::format("{}.{}.{}", request.job, request.restart, attempt);
}

// "<job>.<restart>.<attempt>"; a local job's name may hold dots.
std::string job_of_folder(const std::string& name) {
  const auto attempt = name.rfind('.');
  if (attempt == std::string::npos || attempt == 0) return {};
  const auto restart = name.rfind('.', attempt - 1);
  return restart == std::string::npos ? std::string() : name.substr(0, restart);
}

std::vector<Outcome> read_outcomes(const std::filesystem::path& folder) {
  std::vector<Outcome> outcomes;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (!at->path().filename().string().starts_with("outcome-") || at->path().extension() != ".json")
      continue;
    try {
      const auto json = nlohmann::json::parse(read_file(at->path(), 1 << 20), nullptr, false);
      if (auto outcome = parse_outcome(json)) outcomes.push_back(std::move(*outcome));
    } catch (const Error&) {
      // An unreadable outcome is as good as none.
    }
  }
  return outcomes;
}

std::int64_t newest_checkpoint(const RunLog& log) {
  std::int64_t newest = -1;
  for (const auto& event : log.events) {
    if (event.value("event", "") != "checkpoint" || !event.contains("step")) continue;
    if (event["step"].is_number()) newest = std::max(newest, event["step"].get<std::int64_t>());
  }
  return newest;
}

// Starts of this job that brought no checkpoint, over its requeues too.
std::int64_t starts_without_checkpoint(const RunLog& log, const std::string& job) {
  std::int64_t starts = 0;
  for (const auto& event : log.events) {
    const std::string name = event.value("event", "");
    if (name == "checkpoint") starts = 0;
    if (name == "start" && event.contains("job") && event["job"] == job) ++starts;
  }
  return starts;
}

milliseconds pause_after(const RunRequest& request, int attempt, int exit_code) {
  std::error_code ignored;
  if (!std::filesystem::exists(attempt_folder(request, attempt), ignored)) return kNotStartedPause;
  return exit_code == 128 + SIGKILL ? kKilledPause : kUnexplainedPause;
}

AttemptEnd read_attempt(const RunRequest& request, int attempt, int exit_code) {
  const RunLog log = read_log(request.run);
  return {exit_code, read_outcomes(attempt_folder(request, attempt)), run_is_finished(log, request.recipe),
          newest_checkpoint(log)};
}

std::vector<ChildCommand> with_variables(std::vector<ChildCommand> commands, const RunRequest& request,
                                         int attempt) {
  for (ChildCommand& command : commands) {
    command.environment.emplace_back(kRoleEnv, "agent");
    command.environment.emplace_back(kAttemptEnv, std::to_string(attempt));
    command.environment.emplace_back(kRunEnv, request.run.root);
  }
  return commands;
}

// The job's output names the directory in one line, which `stint run watch` reads.
void check_path(const RunDirectory& run) {
  if (fits_one_line(run.root.string())) return;
  fail(
      "run directory {}: a control character or line break in its path; choose another: "
      "--recipe=…,run.directory=PATH",
      nlohmann::json(run.root.string()).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
}

void check_only_user(const RunRequest& request) {
  const std::string other = other_user_of(request.run, request.job, slurm_job_is_alive);
  if (other.empty()) return;
  fail("{}: job {} trains in it; choose another directory: --recipe=…,run.directory=PATH",
       request.run.root.string(), other);
}

// Whether the run is finished already. What must not start is found before anything is made for it.
bool prepare(const RunRequest& request) {
  try {
    check_path(request.run);
    const bool finished = run_is_finished(read_log(request.run), request.recipe);
    if (!finished) open_training_text(request.recipe.data.path, request.recipe.data.sequence_length);
    prepare_run_directory(request.run, request.frozen);
    check_only_user(request);
    return finished;
  } catch (const Error& error) {
    throw FinalError(error.what());
  }
}

void remove_rendezvous(const RunRequest& request) {
  std::error_code ignored;
  std::filesystem::remove_all(request.run.rendezvous(), ignored);
}

int finish(const RunRequest& request) {
  remove_rendezvous(request);
  finish_with_report(request.run, request.service_address);
  return contract::kExitFinished;
}

int give_up(const RunRequest& request, const std::string& why) {
  remove_rendezvous(request);
  std::fprintf(stderr, "stint: %s\n", why.c_str());
  try {
    append_event(request.run, "error", {{"what", why}, {"exit", contract::kExitDoNotRequeue}});
  } catch (const Error&) {
    // A full disk is often the very reason; it has been said.
  }
  return contract::kExitDoNotRequeue;
}

int ask_requeue(StepRunner& runner, const Requeue& requeue, const std::string& why,
                const std::string& reservation = {}) {
  say(fmt::format("{}; asks to be requeued", why));
  if (requeue(reservation)) runner.pause(kRequeueWait);
  return contract::kExitRequeue;
}

// Stopped on purpose: by a user, or for the end of the plan's segment.
int leave(const RunRequest& request, StepRunner& runner, const Requeue& requeue, const std::string& why) {
  const auto closing = closing_window(read_log(request.run), request.job, request.restart);
  if (!closing) return ask_requeue(runner, requeue, why);
  if (!closing->next.empty() || !closing->next_is_known) {
    return ask_requeue(runner, requeue, "saved; " + describe(*closing), closing->next);
  }
  remove_rendezvous(request);
  tell_plan_over(request.run, *closing, request.service_address);
  return kExitPlanOver;
}

// Two texts of one recipe, wherever it keeps its run: `%j` once, a path the next time.
bool same_recipe(const std::string& a, const std::string& b) {
  if (a == b) return true;
  try {
    auto one = recipes::parse_frozen(a, "recipe.ini");
    const auto other = recipes::parse_frozen(b, "recipe.ini");
    one.run.directory = other.run.directory;
    return recipes::freeze(one) == recipes::freeze(other);
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

RunDirectory run_directory(const recipes::Recipe& recipe, const std::string& job, const std::string& user,
                           const std::filesystem::path& base) {
  const std::string& pattern = recipe.run.directory;
  std::string path;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%') {
      path += pattern[i];
      continue;
    }
    const char letter = ++i < pattern.size() ? pattern[i] : '\0';
    if (letter == 'j') {
      path += job;
    } else if (letter == 'n') {
      path += recipe.name;
    } else if (letter == 'u') {
      path += user;
    } else {
      fail("run.directory = {}: knows %j (job), %n (recipe) and %u (user) only", pattern);
    }
  }
  return {std::filesystem::absolute(base / path).lexically_normal()};
}

void prepare_run_directory(const RunDirectory& run, const std::string& frozen) {
  check_path(run);
  std::error_code error;
  std::filesystem::create_directories(run.root, error);
  if (error) fail("run directory {}: {}", run.root.string(), error.message());
  if (access(run.root.c_str(), W_OK | X_OK) != 0)
    fail("run directory {}: {}", run.root.string(), errno_text(errno));
  if (std::filesystem::exists(run.rendezvous(), error) &&
      !std::filesystem::is_directory(run.rendezvous(), error))
    fail("run directory {}: {} is no folder; move it away", run.root.string(),
         run.rendezvous().filename().string());
  if (!std::filesystem::exists(run.recipe(), error)) return write_file_atomically(run.recipe(), frozen);
  if (same_recipe(read_file(run.recipe(), contract::kMaxRecipeBytes), frozen)) return;
  fail("run directory {}: holds a run of another recipe; choose another: --recipe=…,run.directory=PATH",
       run.root.string());
}

bool run_is_finished(const RunLog& log, const recipes::Recipe& recipe) {
  return std::any_of(log.events.begin(), log.events.end(), [&](const nlohmann::json& event) {
    return event.value("event", "") == "finish" && event.contains("step") && event["step"].is_number() &&
           event["step"].get<std::int64_t>() >= recipe.run.steps;
  });
}

std::string other_user_of(const RunDirectory& run, const std::string& job,
                          const std::function<bool(const std::string&)>& is_alive) {
  std::vector<std::filesystem::path> folders;
  std::error_code error;
  for (std::filesystem::directory_iterator at(run.rendezvous(), error), end; !error && at != end;
       at.increment(error)) {
    folders.push_back(at->path());
  }
  for (const auto& folder : folders) {
    const std::string owner = job_of_folder(folder.filename());
    if (!owner.empty() && owner != job && is_alive(owner)) return owner;
    std::filesystem::remove_all(folder, error);
  }
  return {};
}

void tell_plan_over(const RunDirectory& run, const JobWindow& window, const std::string& service_address) {
  const RunReport report = write_report(run, service_address);
  say(fmt::format(
      "plan {} is over at step {} of {}; saved {}; to go on, book more time with 'stint plan extend {}' or "
      "another plan, and submit again with the same recipe,run.directory={}",
      window.plan, report.step, report.steps, report.checkpoint, window.plan, run.root.string()));
}

void finish_with_report(const RunDirectory& run, const std::string& service_address) {
  const RunReport report = write_report(run, service_address);
  std::fputs(fmt::format("\n{}\nreport         {}\n", format_report(report), run.report().string()).c_str(),
             stdout);
  std::fflush(stdout);
}

int supervise(const RunRequest& request, const AttemptCommands& commands, const Requeue& requeue) {
  const bool finished = prepare(request);
  if (finished) {
    say("the run is finished already");
    return finish(request);
  }
  std::puts(fmt::format("{}{}", contract::kRunDirectoryLine, request.run.root.string()).c_str());
  std::fflush(stdout);
  StepRunner runner;
  const RunLog log = read_log(request.run);
  RestartPolicy policy(request.recipe.resilience.max_restarts, newest_checkpoint(log),
                       starts_without_checkpoint(log, request.job));
  for (int attempt = 0;; ++attempt) {
    const int exit_code = runner.run(with_variables(commands(), request, attempt));
    const Decision decision = policy.decide(read_attempt(request, attempt, exit_code));
    if (!decision.explained) runner.pause(pause_after(request, attempt, exit_code));
    switch (decision.next) {
      case Next::kFinished:
        return finish(request);
      case Next::kGiveUp:
        return give_up(request, decision.why);
      case Next::kRequeue:
        return leave(request, runner, requeue, decision.why);
      case Next::kRestart:
        if (runner.stop_asked()) return ask_requeue(runner, requeue, decision.why);
    }
    append_event(request.run, "restart", {{"why", decision.why}, {"attempt", attempt + 1}});
    say(fmt::format("{}; starts the step again ({} of {} restarts without a new checkpoint)", decision.why,
                    policy.restarts(), policy.max_restarts()));
  }
}

bool slurm_binds_tasks() {
  try {
    const ProcessResult result = run_process({"scontrol", "show", "config"}, kScontrolTimeout);
    const auto line = result.output.find("TaskPlugin ");
    if (result.status != 0 || line == std::string::npos) return true;
    const std::string value = result.output.substr(line, result.output.find('\n', line) - line);
    return value.find("none") == std::string::npos && value.find("null") == std::string::npos;
  } catch (const Error&) {
    return true;
  }
}

bool requeue_slurm_job(const std::string& job, const std::string& reservation) {
  try {
    // Before the requeue, so that the job cannot start again in what is left of the segment. Where it fails,
    // stintd moves the job.
    if (!reservation.empty()) {
      const ProcessResult moved = run_process(
          {"scontrol", "update", "jobid=" + job, "reservationname=" + reservation}, kScontrolTimeout);
      if (moved.status != 0)
        say(fmt::format("scontrol update reservationname={}: {}", reservation, moved.output));
    }
    const ProcessResult result = run_process({"scontrol", "requeue", job}, kScontrolTimeout);
    if (result.status == 0) return true;
    say(fmt::format("scontrol requeue {}: {}", job, result.output));
  } catch (const Error& error) {
    say(error.what());
  }
  return false;
}

bool slurm_job_is_alive(const std::string& job) {
  if (job.find_first_not_of("0123456789") != std::string::npos) return false;
  try {
    const ProcessResult result = run_process({"squeue", "-h", "-o", "%T", "-j", job}, kScontrolTimeout);
    return result.status == 0 && result.output.starts_with("RUNNING");
  } catch (const Error&) {
    return false;
  }
}

}  // namespace stint::agent
