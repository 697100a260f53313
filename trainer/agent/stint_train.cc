// SPDX-License-Identifier: Apache-2.0
// stint-train: in a batch script it prepares the run and starts the step; in a step it is the agent of its
// node; with --local it does both on this host, without Slurm.
#include <fmt/format.h>
#include <pwd.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "base/command_line.h"
#include "base/config.h"
#include "base/contract.h"
#include "base/error.h"
#include "base/ini.h"
#include "base/log.h"
#include "trainer/agent/agent.h"
#include "trainer/agent/supervisor.h"

namespace stint::agent {
namespace {

struct Options {
  std::string recipe;
  std::string run_directory;
  std::string worker;
  int local = 0;
};

template <typename Work>
auto final_if_it_fails(Work work) {
  try {
    return work();
  } catch (const Error& error) {
    throw FinalError(error.what());
  }
}

std::string environment_text(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string user_name() {
  const passwd* entry = getpwuid(getuid());
  return entry == nullptr ? std::to_string(getuid()) : std::string(entry->pw_name);
}

std::string host_name() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

std::filesystem::path own_path() {
  return std::filesystem::read_symlink("/proc/self/exe");
}

struct FrozenRecipe {
  std::string text;
  recipes::Recipe recipe;
};

FrozenRecipe frozen_recipe(const Options& options) {
  std::string text = environment_text(contract::kRecipeEnv);
  if (!options.recipe.empty()) {
    const auto path = recipes::default_search_path(load_config().recipe_path);
    text = recipes::freeze(recipes::resolve(options.recipe, path));
  }
  if (text.empty()) {
    fail(
        "no recipe; submit with `sbatch --recipe=NAME|PATH.ini --wrap stint-train` (`stint recipe list` "
        "shows "
        "the names)");
  }
  auto recipe = recipes::parse_frozen(text, "recipe.ini");
  return {std::move(text), std::move(recipe)};
}

RunDirectory directory_for(const Options& options, const recipes::Recipe& recipe, const std::string& job) {
  if (!options.run_directory.empty()) return {std::filesystem::absolute(options.run_directory)};
  const std::string submit = environment_text("SLURM_SUBMIT_DIR");
  return run_directory(recipe, job, user_name(),
                       submit.empty() ? std::filesystem::current_path() : std::filesystem::path(submit));
}

std::filesystem::path worker_program(const Options& options) {
  if (!options.worker.empty()) {
    const auto program = std::filesystem::absolute(options.worker);
    if (access(program.c_str(), X_OK) != 0 || std::filesystem::is_directory(program))
      throw FinalError(fmt::format("--worker: {} is no program that can be run", program.string()));
    return program;
  }
  const std::string named = environment_text(kWorkerEnv);
  return named.empty() ? find_program("stint-worker") : std::filesystem::path(named);
}

void die_on_signal(int) {
  Agent::die();
}

void install_agent_signals() {
  struct sigaction action {};
  action.sa_handler = die_on_signal;
  sigaction(SIGTERM, &action, nullptr);
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGUSR1);
  sigprocmask(SIG_BLOCK, &mask, nullptr);
}

int run_agent(const Options& options) {
  install_agent_signals();
  start_logging("stint-train", "info");
  const Setup setup = read_setup(std::getenv, host_name());
  RunDirectory run{environment_text(kRunEnv)};
  FrozenRecipe recipe;
  if (setup.supervised) {
    recipe.text = read_file(run.recipe(), contract::kMaxRecipeBytes);
    recipe.recipe = recipes::parse_frozen(recipe.text, run.recipe());
  } else {
    final_if_it_fails([&] {
      recipe = frozen_recipe(options);
      run = directory_for(options, recipe.recipe, setup.job);
      prepare_run_directory(run, recipe.text);
    });
  }
  Agent agent(setup, recipe.recipe, run, worker_program(options));
  const int exit_code = agent.run();
  if (!setup.supervised && exit_code == contract::kExitFinished && agent.hosts_rank_zero()) {
    finish_with_report(run, setup.service_address);
  }
  if (!setup.supervised && exit_code == contract::kExitRequeue) {
    const auto closing = closing_window(read_log(run), setup.job, setup.restart);
    const bool over = closing && closing->next.empty() && closing->next_is_known;
    if (over && agent.hosts_rank_zero()) tell_plan_over(run, *closing, setup.service_address);
    if (over) return kExitPlanOver;
  }
  return exit_code;
}

RunRequest request_for(const Options& options, const std::string& job) {
  return final_if_it_fails([&] {
    FrozenRecipe recipe = frozen_recipe(options);
    RunDirectory run = directory_for(options, recipe.recipe, job);
    return RunRequest{std::move(recipe.text),
                      std::move(recipe.recipe),
                      std::move(run),
                      job,
                      0,
                      environment_text(contract::kAddressEnv)};
  });
}

std::vector<ChildCommand> with_worker(std::vector<ChildCommand> commands,
                                      const std::filesystem::path& worker) {
  for (ChildCommand& command : commands) command.environment.emplace_back(kWorkerEnv, worker);
  return commands;
}

int run_batch(const Options& options) {
  const std::string job = environment_text("SLURM_JOB_ID");
  RunRequest request = request_for(options, job);
  const std::string restarts = environment_text("SLURM_RESTART_COUNT");
  if (!restarts.empty()) request.restart = std::atoi(restarts.c_str());
  const std::string count = environment_text("SLURM_JOB_NUM_NODES");
  const int nodes =
      count.empty() ? static_cast<int>(request.recipe.resources.nodes) : std::atoi(count.c_str());
  // Found out once: the file may be replaced during a long run.
  const auto command = srun_command(own_path(), nodes, slurm_binds_tasks());
  const auto commands = [&] {
    return options.worker.empty() ? std::vector{command} : with_worker({command}, worker_program(options));
  };
  return supervise(request, commands,
                   [&](const std::string& reservation) { return requeue_slurm_job(job, reservation); });
}

int run_local(const Options& options) {
  const std::string job = fmt::format("local-{}-{}", host_name(), getpid());
  const RunRequest request = request_for(options, job);
  const auto worker = final_if_it_fails([&] { return worker_program(options); });
  const auto agents = with_worker(local_commands(own_path(), job, options.local), worker);
  const auto commands = [&] { return agents; };
  return supervise(request, commands, [](const std::string&) { return false; });
}

int run(const Options& options) {
  if (options.local > 0 && environment_text(kRoleEnv).empty()) return run_local(options);
  switch (role_of(std::getenv)) {
    case Role::kAgent:
      return run_agent(options);
    case Role::kBatch:
      return run_batch(options);
    case Role::kNone:
      break;
  }
  throw FinalError(
      "stint-train: not in a Slurm job; submit it with `sbatch --recipe=NAME --wrap stint-train`, or train "
      "on this "
      "host with `stint-train --local 2 --recipe NAME`");
}

int guarded(const Options& options) {
  try {
    return run(options);
  } catch (const FinalError& error) {
    std::fprintf(stderr, "stint: %s\n", error.what());
    return contract::kExitDoNotRequeue;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "stint: %s\n", error.what());
    return contract::kExitFailure;
  }
}

}  // namespace
}  // namespace stint::agent

int main(int argc, char** argv) {
  stint::agent::Options options;
  CLI::App app{"Trains a recipe: the batch side of a job, the agent of a node, or a whole run on this host.",
               "stint-train"};
  app.set_version_flag("--version", STINT_VERSION);
  app.add_option("--recipe", options.recipe,
                 "NAME or PATH.ini[,section.key=value…]; default: the job's --recipe");
  app.add_option("--run-directory", options.run_directory, "default: the recipe's run.directory");
  app.add_option("--local", options.local, "without Slurm: this many agents on this host")
      ->check(CLI::Range(1, 64));
  app.add_option("--worker", options.worker, "the worker program; default: stint-worker beside stint-train");
  app.footer(
      "Exit codes: 0 finished; 75 saved and stopped, to be requeued; 76 saved, its training plan is over; 93 "
      "do not "
      "requeue (a wrong recipe, or restarts without progress); others: failure.");
  if (const auto ended = stint::parse_command_line(app, argc, argv)) return *ended;
  const int exit_code = stint::agent::guarded(options);
  // A thread that still waits for stintd must not hold up Slurm.
  std::fflush(stdout);
  std::fflush(stderr);
  _exit(exit_code);
}
