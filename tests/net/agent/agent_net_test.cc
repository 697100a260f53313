// SPDX-License-Identifier: Apache-2.0
// Real stint-train processes on this host, with a worker that only speaks the protocol.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "base/contract.h"
#include "base/ini.h"
#include "base/run_directory.h"
#include "recipes/recipe.h"

namespace stint::agent {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Variables = std::vector<std::pair<std::string, std::string>>;
using testing::HasSubstr;

constexpr auto kPatience = 60s;  // far beyond what anything here takes

class Process {
 public:
  Process(std::vector<std::string> words, const Variables& variables, const std::filesystem::path& output)
      : output_(output) {
    pid_ = fork();
    if (pid_ != 0) return;
    const int file = open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    dup2(file, STDOUT_FILENO);
    dup2(file, STDERR_FILENO);
    for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
    std::vector<char*> arguments;
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  Process(Process&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)), output_(std::move(other.output_)) {}
  ~Process() {
    if (pid_ <= 0 || status_) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

  void signal(int number) const {
    if (pid_ > 0) kill(pid_, number);
  }
  // Exit status, or 128 + the signal; -1: still running after all patience.
  int wait() {
    const auto deadline = Clock::now() + kPatience;
    while (!status_ && Clock::now() < deadline) {
      int status = 0;
      if (waitpid(pid_, &status, WNOHANG) == pid_) {
        status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      } else {
        std::this_thread::sleep_for(2ms);
      }
    }
    return status_.value_or(-1);
  }
  std::string output() const { return read_file(output_, 1 << 20); }

 private:
  pid_t pid_ = -1;
  std::optional<int> status_;
  std::filesystem::path output_;
};

class AgentNet : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = std::filesystem::temp_directory_path() / "stint-agent.XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    run_.root = folder_ / "run";
    std::ofstream(folder_ / "text.txt") << std::string(4096, 'x');
    // Whatever Slurm job these tests may run in is none of theirs.
    for (const char* name : {"SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_STEPID", "SLURM_STINT_RECIPE",
                             "SLURM_STINT_ADDRESS", "SLURM_STINT_PLAN", "STINT_ROLE", "STINT_CONF"}) {
      unsetenv(name);
    }
    write_recipe("");
  }
  void TearDown() override {
    if (HasFailure()) {
      for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
        if (entry.path().extension() == ".out") std::cerr << read_file(entry.path(), 1 << 20);
      }
    }
    std::filesystem::remove_all(folder_);
  }

  void write_recipe(const std::string& more) {
    std::ofstream(folder_ / "trial.ini")
        << "[run]\nsteps = 40\nlog_interval = 1\ntensorboard = no\n[model]\narchitecture = llama\nvocab_size "
           "= 256\n"
           "hidden_size = 16\nintermediate_size = 16\nnum_hidden_layers = 1\nnum_attention_heads = 1\n"
           "num_key_value_heads = 1\n[data]\npath = "
        << (folder_ / "text.txt").string()
        << "\nsequence_length = 16\nglobal_batch_size = 3\nmicro_batch_size = 1\n[optim]\nlearning_rate = "
           "1e-3\n"
           "[checkpoint]\ninterval = 10\n[resources]\nnodes = 3\n[resilience]\nmax_restarts = 2\n"
        << more;
  }

  // The whole of stint-train with three agents.
  Process start_local(const Variables& variables = {}, const std::string& overrides = "") {
    return start_local_below({}, variables, overrides);
  }
  Process start_local_below(std::vector<std::string> words, const Variables& variables = {},
                            const std::string& overrides = "") {
    for (const std::string& word :
         {std::string(STINT_TRAIN), std::string("--local"), std::string("3"), std::string("--recipe"),
          (folder_ / "trial.ini").string() + overrides, std::string("--run-directory"), run_.root.string(),
          std::string("--worker"), std::string(FAKE_WORKER)})
      words.push_back(word);
    return Process(std::move(words), variables, folder_ / "train.out");
  }

  // Agents alone: nobody ends the others when one fails.
  Process start_agent(int index, Variables variables = {}) {
    prepare();
    for (const auto& [name, value] : Variables{{"STINT_ROLE", "agent"},
                                               {"STINT_RUN_DIRECTORY", run_.root},
                                               {"STINT_WORKER", FAKE_WORKER},
                                               {"STINT_LOCAL_JOB", "trial"},
                                               {"STINT_LOCAL_NODES", "3"},
                                               {"STINT_LOCAL_INDEX", std::to_string(index)}}) {
      variables.emplace_back(name, value);
    }
    return Process({STINT_TRAIN}, variables, folder_ / ("agent" + std::to_string(index) + ".out"));
  }
  // An agent as `srun stint-train` of a user's own starts it.
  Process start_lone_agent(int index, Variables variables) {
    for (const auto& [name, value] : Variables{{"SLURM_JOB_ID", "12"},
                                               {"SLURM_STEP_ID", "0"},
                                               {"STINT_LOCAL_JOB", "trial"},
                                               {"STINT_LOCAL_NODES", "3"},
                                               {"STINT_LOCAL_INDEX", std::to_string(index)}}) {
      variables.emplace_back(name, value);
    }
    return Process({STINT_TRAIN, "--recipe", folder_ / "trial.ini", "--run-directory", run_.root, "--worker",
                    FAKE_WORKER},
                   variables, folder_ / ("lone" + std::to_string(index) + ".out"));
  }
  std::vector<Process> start_agents(const Variables& variables = {}) {
    std::vector<Process> agents;
    for (int i = 0; i < 3; ++i) agents.push_back(start_agent(i, variables));
    return agents;
  }
  void prepare() {
    std::filesystem::create_directories(run_.root);
    const auto recipe = recipes::resolve((folder_ / "trial.ini").string(), {});
    write_file_atomically(run_.recipe(), recipes::freeze(recipe));
  }

  std::vector<nlohmann::json> events(const std::string& name) const {
    std::vector<nlohmann::json> found;
    for (const auto& event : read_log(run_).events) {
      if (event["event"] == name) found.push_back(event);
    }
    return found;
  }
  std::string outcome_of(const std::string& node) const {
    return read_file(run_.rendezvous() / "trial.0.0" / ("outcome-" + node + ".json"), 1 << 20);
  }
  bool wait_for_step(std::int64_t step) const {
    const auto deadline = Clock::now() + kPatience;
    while (Clock::now() < deadline) {
      const auto steps = events("step");
      if (!steps.empty() && steps.back()["step"] >= step) return true;
      std::this_thread::sleep_for(5ms);
    }
    return false;
  }

  std::filesystem::path folder_;
  RunDirectory run_;
};

// Long steps, so that there is time to do something to a run.
const Variables kSlow{{"FAKE_STEP_MS", "100"}};

using LocalRun = AgentNet;

TEST_F(LocalRun, FinishesWithReportAndLeavesNoRendezvous) {
  auto train = start_local();
  EXPECT_EQ(train.wait(), contract::kExitFinished);
  EXPECT_EQ(events("start").size(), 1U);
  EXPECT_EQ(events("step").size(), 40U);
  ASSERT_EQ(events("finish").size(), 1U);
  EXPECT_THAT(read_file(run_.report(), 1 << 20), HasSubstr("steps          40 of 40"));
  EXPECT_THAT(train.output(), HasSubstr("timeline"));
  EXPECT_FALSE(std::filesystem::exists(run_.rendezvous()));
}

TEST_F(LocalRun, ASharedFolderTooSmallForUcxEndsItBeforeTheFirstStep) {
  if (geteuid() != 0) GTEST_SKIP() << "wants root, to mount a small /dev/shm";
  auto train = start_local_below({"/usr/bin/unshare", "--mount", "/bin/sh", "-c",
                                  "mount -t tmpfs -o size=1m tmpfs /dev/shm && exec \"$@\"", "sh"});
  EXPECT_EQ(train.wait(), contract::kExitDoNotRequeue);
  EXPECT_THAT(train.output(), HasSubstr("/dev/shm has 1.0 MiB left, UCX takes 5 MiB of it for the 1 worker"));
  EXPECT_TRUE(events("step").empty());
}

const std::string kPairs = ",data.global_batch_size=6,resources.workers_per_node=2";

// Files in memory that workers of the run in `folder` map.
std::set<std::string> shared_memories(const std::filesystem::path& folder) {
  std::set<std::string> found;
  std::error_code gone;
  for (const auto& process : std::filesystem::directory_iterator("/proc", gone)) {
    std::ostringstream command;
    command << std::ifstream(process.path() / "cmdline").rdbuf();
    if (command.str().find(folder.string()) == std::string::npos) continue;
    std::ifstream maps(process.path() / "maps");
    for (std::string line; std::getline(maps, line);)
      if (line.find("/memfd:stint ") != std::string::npos) {
        std::istringstream words(line);
        std::string inode;
        for (int word = 0; word < 5; ++word) words >> inode;
        found.insert(inode);
      }
  }
  return found;
}

TEST_F(LocalRun, WorkersOfANodeShareTheirAgentsMemoryWhichIsGoneWithTheAgent) {
  auto train = start_local(kSlow, kPairs);
  ASSERT_TRUE(wait_for_step(3));
  EXPECT_EQ(events("start").at(0)["communication"], "shm");
  EXPECT_EQ(shared_memories(folder_).size(), 3U) << "one a node";
  train.signal(SIGKILL);
  const auto deadline = Clock::now() + 10s;
  while (!shared_memories(folder_).empty() && Clock::now() < deadline) std::this_thread::sleep_for(20ms);
  EXPECT_TRUE(shared_memories(folder_).empty());
}

TEST_F(LocalRun, KilledWorkerOfANodeOfTwoCostsOneRestartWithFreshMemory) {
  auto train = start_local({{"FAKE_DIE_NODE", "1"}, {"FAKE_DIE_STEP", "25"}}, kPairs);
  EXPECT_EQ(train.wait(), contract::kExitFinished);
  const auto starts = events("start");
  ASSERT_EQ(starts.size(), 2U);
  for (const auto& start : starts) EXPECT_EQ(start["communication"], "shm");
}

TEST_F(LocalRun, KilledWorkerCostsOneRestartFromTheCheckpoint) {
  auto train = start_local({{"FAKE_DIE_NODE", "1"}, {"FAKE_DIE_STEP", "25"}});
  EXPECT_EQ(train.wait(), contract::kExitFinished);
  const auto starts = events("start");
  ASSERT_EQ(starts.size(), 2U);
  EXPECT_GE(starts[1]["resume_step"], 10);
  ASSERT_EQ(events("worker_lost").size(), 1U);
  EXPECT_EQ(events("worker_lost")[0]["node"], "local1");
  EXPECT_THAT(events("worker_lost")[0]["why"].get<std::string>(), HasSubstr("signal 9"));
  EXPECT_THAT(read_file(run_.report(), 1 << 20), HasSubstr("restarts       1"));
}

TEST_F(LocalRun, WorkerThatSaysNoRetryEndsTheRun) {
  auto train = start_local({{"FAKE_DIE_NODE", "2"}, {"FAKE_DIE_STEP", "5"}, {"FAKE_DIE_EXIT", "93"}});
  EXPECT_EQ(train.wait(), contract::kExitDoNotRequeue);
  EXPECT_EQ(events("start").size(), 1U);
  EXPECT_EQ(events("error").size(), 1U);
  const std::string output = train.output(), why = "the run cannot go on";
  EXPECT_THAT(output, HasSubstr(why));
  EXPECT_EQ(output.find(why), output.rfind(why)) << "told more than once:\n" << output;
  EXPECT_FALSE(std::filesystem::exists(run_.rendezvous()));
}

TEST_F(LocalRun, WorkerThatCannotRunIsRefusedAtOnce) {
  Process train({STINT_TRAIN, "--local", "1", "--recipe", folder_ / "trial.ini", "--run-directory", run_.root,
                 "--worker", folder_},
                {}, folder_ / "train.out");
  EXPECT_EQ(train.wait(), contract::kExitDoNotRequeue);
  EXPECT_THAT(train.output(), HasSubstr("is no program that can be run"));
  EXPECT_FALSE(std::filesystem::exists(run_.root));
}

TEST_F(LocalRun, GivesUpAfterRestartsWithoutCheckpoint) {
  auto train = start_local({{"FAKE_DIE_NODE", "0"}, {"FAKE_DIE_STEP", "5"}, {"FAKE_DIE_ALWAYS", "1"}});
  EXPECT_EQ(train.wait(), contract::kExitDoNotRequeue);
  EXPECT_EQ(events("start").size(), 3U);
  EXPECT_THAT(train.output(), HasSubstr("2 restarts without a new checkpoint"));
}

TEST_F(LocalRun, FinishedRunIsNotTrainedAgain) {
  EXPECT_EQ(start_local().wait(), contract::kExitFinished);
  auto again = start_local();
  EXPECT_EQ(again.wait(), contract::kExitFinished);
  EXPECT_EQ(events("start").size(), 1U);
  EXPECT_THAT(again.output(), HasSubstr("finished already"));
}

TEST_F(LocalRun, DirectoryOfAnotherRecipeIsRefused) {
  EXPECT_EQ(start_local().wait(), contract::kExitFinished);
  write_recipe("heartbeat_timeout = 2s\n");
  auto other = start_local();
  EXPECT_EQ(other.wait(), contract::kExitDoNotRequeue);
  EXPECT_THAT(other.output(), HasSubstr("holds a run of another recipe"));
}

TEST_F(LocalRun, StopSavesAndTheNextStartResumesThere) {
  auto train = start_local(kSlow);
  ASSERT_TRUE(wait_for_step(3));
  train.signal(SIGUSR1);
  EXPECT_EQ(train.wait(), contract::kExitRequeue);
  ASSERT_EQ(events("stopping").size(), 1U);
  EXPECT_EQ(start_local().wait(), contract::kExitFinished);
  ASSERT_EQ(events("start").size(), 2U);
  EXPECT_EQ(events("start")[1]["resume_step"], events("checkpoint")[0]["step"]);
}

TEST_F(LocalRun, TermEndsItAndItsAgents) {
  auto train = start_local(kSlow);
  ASSERT_TRUE(wait_for_step(2));
  train.signal(SIGTERM);
  EXPECT_EQ(train.wait(), 128 + SIGTERM);
  std::this_thread::sleep_for(500ms);
  const auto steps = events("step").size();
  std::this_thread::sleep_for(500ms);
  EXPECT_EQ(events("step").size(), steps);
  EXPECT_TRUE(events("finish").empty());
}

TEST_F(LocalRun, RecordsWhatStandsWhereAndHowFarApart) {
  auto train = start_local({}, ",topology.measure=yes");
  EXPECT_EQ(train.wait(), contract::kExitFinished);
  const auto record = nlohmann::json::parse(read_file(run_.topology(), 1 << 20));
  EXPECT_EQ(record["world"], 3);
  ASSERT_EQ(record["nodes"].size(), 3U);
  EXPECT_EQ(record["nodes"][0]["workers"][0]["rank"], 0);
  EXPECT_NE(record["nodes"][0]["workers"][0]["cpus"], "");
  EXPECT_THAT(record["notes"][0], HasSubstr("the measured distances of the nodes show"));
  for (int from = 0; from < 3; ++from)
    for (int to = 0; to < 3; ++to)
      EXPECT_EQ(record["round_trips_us"][from][to].get<double>() > 0, from != to);
}

TEST_F(LocalRun, ANetworkDeviceThatIsNotThereIsNamedBeforeTheFirstStep) {
  auto train = start_local({{"UCX_NET_DEVICES", "mlx5_77:1"}}, ",resilience.max_restarts=0");
  EXPECT_NE(train.wait(), contract::kExitFinished);
  EXPECT_THAT(train.output(), HasSubstr("UCX_NET_DEVICES names mlx5_77:1, which this node does not have"));
  EXPECT_TRUE(events("step").empty());
}

TEST_F(LocalRun, WithoutARecipeSaysHowToGiveOne) {
  Process train({STINT_TRAIN, "--local", "2"}, {}, folder_ / "train.out");
  EXPECT_EQ(train.wait(), contract::kExitDoNotRequeue);
  EXPECT_THAT(train.output(), HasSubstr("no recipe; submit with"));
}

using Agents = AgentNet;

TEST_F(Agents, WithoutASupervisorOneOfThemSaysWhyTheRunCannotGoOn) {
  std::vector<Process> agents;
  for (int i = 0; i < 3; ++i) agents.push_back(start_lone_agent(i, {{"FAKE_HOPELESS", "1"}}));
  std::string output;
  for (auto& agent : agents) EXPECT_EQ(agent.wait(), contract::kExitDoNotRequeue);
  for (const auto& agent : agents) output += agent.output();
  const std::string line = "stint: the fake BLAS is wrong (exit code 93)\n";
  EXPECT_THAT(output, HasSubstr(line));
  EXPECT_EQ(output.find(line), output.rfind(line)) << output;
  EXPECT_EQ(output.find("the agent of"), std::string::npos) << output;
}

TEST_F(Agents, KilledAgentIsNoticedByItsSilence) {
  auto agents = start_agents(kSlow);
  ASSERT_TRUE(wait_for_step(3));
  agents[2].signal(SIGKILL);
  const auto began = Clock::now();
  EXPECT_EQ(agents[0].wait(), contract::kExitFailure);
  EXPECT_EQ(agents[1].wait(), contract::kExitFailure);
  RecordProperty("seconds", std::to_string(std::chrono::duration<double>(Clock::now() - began).count()));
  ASSERT_EQ(events("peer_lost").size(), 1U);
  EXPECT_EQ(events("peer_lost")[0]["node"], "local2");
  EXPECT_TRUE(events("finish").empty());
}

TEST_F(Agents, FrozenFirstAgentIsNoticedAndLeavesWhenItThaws) {
  auto agents = start_agents(kSlow);
  ASSERT_TRUE(wait_for_step(3));
  agents[0].signal(SIGSTOP);
  EXPECT_EQ(agents[1].wait(), contract::kExitFailure);
  EXPECT_EQ(agents[2].wait(), contract::kExitFailure);
  agents[0].signal(SIGCONT);
  EXPECT_EQ(agents[0].wait(), contract::kExitFailure);
  ASSERT_EQ(events("peer_lost").size(), 1U);
  EXPECT_EQ(events("peer_lost")[0]["node"], "local0");
}

TEST_F(Agents, PauseOfAllOfThemAccusesNobody) {
  auto agents = start_agents(kSlow);
  ASSERT_TRUE(wait_for_step(3));
  for (const auto& agent : agents) agent.signal(SIGSTOP);
  std::this_thread::sleep_for(1500ms);
  for (const auto& agent : agents) agent.signal(SIGCONT);
  for (auto& agent : agents) EXPECT_EQ(agent.wait(), contract::kExitFinished);
  EXPECT_TRUE(events("peer_lost").empty());
}

TEST_F(Agents, AgentThatNeverComesIsNamed) {
  write_recipe("startup_timeout = 2s\n");
  auto first = start_agent(0);
  auto second = start_agent(1);
  EXPECT_EQ(first.wait(), contract::kExitRequeue);
  ASSERT_EQ(events("peer_lost").size(), 1U);
  EXPECT_EQ(events("peer_lost")[0]["node"], "local2");
  EXPECT_THAT(first.output(), HasSubstr("no agent came from local2"));
}

TEST_F(Agents, WorkerThatNeverShowsItsAddressIsNamed) {
  write_recipe("startup_timeout = 2s\n");
  std::vector<Process> agents;
  agents.push_back(start_agent(0));
  agents.push_back(start_agent(1, {{"FAKE_MUTE", "1"}}));
  agents.push_back(start_agent(2));
  for (auto& agent : agents) EXPECT_EQ(agent.wait(), contract::kExitFailure);
  EXPECT_THAT(outcome_of("local0") + outcome_of("local1") + outcome_of("local2"),
              HasSubstr("the workers of local1 did not start"));
}

TEST_F(Agents, TermOfOneEndsTheOthers) {
  auto agents = start_agents(kSlow);
  ASSERT_TRUE(wait_for_step(2));
  agents[1].signal(SIGTERM);
  for (auto& agent : agents) EXPECT_EQ(agent.wait(), contract::kExitFailure);
}

}  // namespace
}  // namespace stint::agent
