// SPDX-License-Identifier: Apache-2.0
// job_submit_stint.so as slurmctld opens it: RTLD_LAZY, its symbols by name, Slurm's strings in its own heap.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "base/ini.h"
#include "fake_slurm.h"
#include "sample_table.h"

extern "C" {
extern slurm_conf_t slurm_conf;
char* slurm_xstrdup(const char* text);
void slurm_xfree(void** item);
}

namespace stint::spank {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

PlanTable table_of_now() {
  PlanTable table = sample_table();
  const auto shift = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()) - kNow;
  for (PlanRow& plan : table.plans) {
    for (SegmentRow& segment : plan.segments) {
      segment.start += shift;
      segment.end += shift;
    }
  }
  return table;
}

// Every byte of a job description: "unchanged" means all fields, also those the plugin does not know.
std::string bytes_of(const job_desc_msg_t& job) {
  return {reinterpret_cast<const char*>(&job), sizeof job};
}

class JobSubmit : public ::testing::Test {
 protected:
  using Init = int();
  using Submit = int(job_desc_msg_t*, std::uint32_t, char**);
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(23, 2, 0)
  using Modify = int(job_desc_msg_t*, void*, std::uint32_t, char**);
#else
  using Modify = int(job_desc_msg_t*, void*, std::uint32_t);
#endif

  JobSubmit() {
    std::string folder = ::testing::TempDir() + "stint-state-XXXXXX";
    if (!::mkdtemp(folder.data())) std::abort();
    folder_ = folder;
    slurm_conf.state_save_location = folder_.data();
    slurm_conf.slurm_user_id = 64030;
    publish(table_of_now());
    plugin_ = ::dlopen(STINT_JOB_SUBMIT_PLUGIN, RTLD_LAZY | kKeepLoaded);
    if (!plugin_) throw std::runtime_error(::dlerror());
    submit_ = reinterpret_cast<Submit*>(::dlsym(plugin_, "job_submit"));
    modify_ = reinterpret_cast<Modify*>(::dlsym(plugin_, "job_modify"));
    fill_defaults();
  }

  ~JobSubmit() override {
    for (char** text :
         {&job_.reservation, &job_.partition, &job_.tres_per_node, &job_.admin_comment, &message_}) {
      slurm_xfree(reinterpret_cast<void**>(text));
    }
    EXPECT_TRUE(fake_slurm().strings.empty()) << "the plugin lost a string of Slurm's";
    ::dlclose(plugin_);
    std::filesystem::remove_all(folder_);
    slurm_conf.state_save_location = nullptr;
  }

  void publish(const PlanTable& table) {
    write_file_atomically(folder_ + "/stint_plans.ini", table.format());
  }

  // As slurm_init_job_desc_msg leaves it, as far as the plugin looks.
  void fill_defaults() {
    job_.user_id = kAlice;
    job_.min_nodes = job_.max_nodes = job_.num_tasks = NO_VAL;
    job_.time_limit = job_.time_min = NO_VAL;
    job_.het_job_offset = NO_VAL;
    job_.shared = NO_VAL16;
    job_.requeue = NO_VAL16;
    job_.kill_on_node_fail = NO_VAL16;
  }

  int submit(std::vector<std::string> entries) {
    std::vector<char*> pointers;
    pointers.reserve(entries.size());
    for (std::string& entry : entries) pointers.push_back(entry.data());
    job_.spank_job_env = pointers.data();
    job_.spank_job_env_size = static_cast<std::uint32_t>(pointers.size());
    slurm_xfree(reinterpret_cast<void**>(&message_));
    const int code = submit_(&job_, job_.user_id, &message_);
    job_.spank_job_env = nullptr;
    job_.spank_job_env_size = 0;
    return code;
  }

  int modify(std::uint32_t uid, const char* reservation, void* record = nullptr) {
    job_desc_msg_t change{};
    change.reservation = const_cast<char*>(reservation);
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(23, 2, 0)
    slurm_xfree(reinterpret_cast<void**>(&message_));
    return modify_(&change, record, uid, &message_);
#else
    return modify_(&change, record, uid);
#endif
  }

  std::string message() const {
    return message_ ? message_ : "";
  }

  std::string folder_;
  void* plugin_ = nullptr;
  Submit* submit_ = nullptr;
  Modify* modify_ = nullptr;
  job_desc_msg_t job_{};
  char* message_ = nullptr;
};

const char kDemo[] = "_SLURM_SPANK_OPTION_stint_training_plan=demo";

TEST_F(JobSubmit, CarriesTheVersionThatSlurmChecks) {
  EXPECT_EQ(*static_cast<const std::uint32_t*>(::dlsym(plugin_, "plugin_version")),
            static_cast<std::uint32_t>(SLURM_VERSION_NUMBER));
  EXPECT_STREQ(static_cast<const char*>(::dlsym(plugin_, "plugin_type")), "job_submit/stint");
  EXPECT_EQ(reinterpret_cast<Init*>(::dlsym(plugin_, "init"))(), SLURM_SUCCESS);
  EXPECT_EQ(reinterpret_cast<Init*>(::dlsym(plugin_, "fini"))(), SLURM_SUCCESS);
}

TEST_F(JobSubmit, LeavesAnOrdinaryJobAlone) {
  const std::string before = bytes_of(job_);
  EXPECT_EQ(submit({"OTHER=1", "_SLURM_SPANK_OPTION_pyxis_container_image=x"}), SLURM_SUCCESS);
  EXPECT_TRUE(before == bytes_of(job_));
  std::filesystem::remove_all(folder_);
  EXPECT_EQ(submit({}), SLURM_SUCCESS);
}

TEST_F(JobSubmit, FillsInAPlanJob) {
  ASSERT_EQ(submit({kDemo, "STINT_NODES=3", "STINT_GRES=gpu:8,nic:2", "STINT_RECIPE=tiny@01234567"}),
            SLURM_SUCCESS)
      << message();
  EXPECT_STREQ(job_.reservation, "demo.0");
  EXPECT_STREQ(job_.partition, "main");
  EXPECT_STREQ(job_.admin_comment, "stint plan=demo recipe=tiny@01234567");
  EXPECT_EQ(job_.min_nodes, 3u);
  EXPECT_EQ(job_.max_nodes, 3u);
  EXPECT_EQ(job_.shared, JOB_SHARED_NONE);
  EXPECT_EQ(job_.requeue, 1);
  EXPECT_EQ(job_.open_mode, OPEN_MODE_APPEND);
  EXPECT_GE(job_.time_limit, 58u);
  EXPECT_LE(job_.time_limit, 60u);
  EXPECT_EQ(job_.begin_time, 0);
  EXPECT_EQ(job_.kill_on_node_fail, NO_VAL16);
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(23, 11, 0)
  EXPECT_STREQ(job_.tres_per_node, "gres/gpu:8,gres/nic:2");
#else
  EXPECT_STREQ(job_.tres_per_node, "gres:gpu:8,gres:nic:2");
#endif
}

TEST_F(JobSubmit, RefusalsHaveOurLineAndAFittingCode) {
  EXPECT_EQ(submit({kDemo, "STINT_NODES=9"}), ESLURM_INVALID_NODE_COUNT);
  EXPECT_THAT(message(), StartsWith("stint: plan demo: has 4 nodes"));
  EXPECT_EQ(submit({"_SLURM_SPANK_OPTION_stint_training_plan=secret"}), ESLURM_RESERVATION_ACCESS);
  EXPECT_EQ(submit({"_SLURM_SPANK_OPTION_stint_training_plan=../x"}), SLURM_ERROR);
  EXPECT_THAT(message(), StartsWith("stint: --training-plan: '../x' is no plan name"));
  job_.time_min = 5000;
  EXPECT_EQ(submit({kDemo}), ESLURM_INVALID_TIME_LIMIT);
}

TEST_F(JobSubmit, ARefusedJobIsUnchanged) {
  const std::string before = bytes_of(job_);
  EXPECT_NE(submit({kDemo, "STINT_NODES=9", "STINT_GRES=gpu:8"}), SLURM_SUCCESS);
  EXPECT_TRUE(before == bytes_of(job_));
}

TEST_F(JobSubmit, UnlimitedTimeIsFittedToo) {
  job_.time_limit = INFINITE;
  ASSERT_EQ(submit({kDemo}), SLURM_SUCCESS);
  EXPECT_LE(job_.time_limit, 60u);
}

TEST_F(JobSubmit, AddsItsLineToAnotherPluginsMessage) {
  job_.time_limit = 5000;
  std::string plan = kDemo;
  char* entries[] = {plan.data()};
  job_.spank_job_env = entries;
  job_.spank_job_env_size = 1;
  message_ = slurm_xstrdup("first plugin");
  ASSERT_EQ(submit_(&job_, kAlice, &message_), SLURM_SUCCESS);
  EXPECT_THAT(message(), StartsWith("first plugin\nstint: plan demo: time limit cut"));
}

TEST_F(JobSubmit, ReplacesTheUsersStringsWithoutALeak) {
  job_.reservation = slurm_xstrdup("demo.0");
  job_.partition = slurm_xstrdup("main");
  job_.admin_comment = slurm_xstrdup("root's own");
  ASSERT_EQ(submit({kDemo}), SLURM_SUCCESS);
  EXPECT_STREQ(job_.admin_comment, "stint plan=demo");
}

TEST_F(JobSubmit, KeepsItsUsersWishesInTheTag) {
  job_.time_limit = 5;
  job_.warn_signal = 10;
  ASSERT_EQ(submit({kDemo}), SLURM_SUCCESS);
  EXPECT_STREQ(job_.admin_comment, "stint plan=demo time=5 signal=own");
}

TEST_F(JobSubmit, AJobThatItsUserWillNotHaveRequeuedIsNot) {
  job_.requeue = 0;
  ASSERT_EQ(submit({kDemo}), SLURM_SUCCESS);
  EXPECT_EQ(job_.requeue, 0);
}

TEST_F(JobSubmit, BatchJobWithoutItsRecipeTextIsRefused) {
  std::string home = "HOME=/root";
  char* environment[] = {home.data()};
  job_.environment = environment;
  job_.env_size = 1;
  EXPECT_EQ(submit({"STINT_RECIPE=tiny@01234567", "STINT_NODES=2"}), ESLURM_NOT_SUPPORTED);
  EXPECT_THAT(message(), HasSubstr("--export-file"));
  std::string text = "SLURM_STINT_RECIPE=[recipe]";
  environment[0] = text.data();
  EXPECT_EQ(submit({"STINT_RECIPE=tiny@01234567", "STINT_NODES=2"}), SLURM_SUCCESS) << message();
}

TEST_F(JobSubmit, ComponentOfAHeterogeneousJobIsRefused) {
  job_.het_job_offset = 0;
  EXPECT_EQ(submit({kDemo}), ESLURM_NOT_SUPPORTED);
}

TEST_F(JobSubmit, MissingTableRefusesPlanJobsOnly) {
  std::filesystem::remove(folder_ + "/stint_plans.ini");
  EXPECT_EQ(submit({kDemo}), SLURM_ERROR);
  EXPECT_THAT(message(), HasSubstr("stintd"));
  EXPECT_EQ(submit({"STINT_RECIPE=tiny@01234567", "STINT_NODES=2"}), SLURM_SUCCESS);
}

TEST_F(JobSubmit, DamagedTableRefusesPlanJobs) {
  write_file_atomically(folder_ + "/stint_plans.ini", std::string("[plan demo]\n\x01\xff", 14));
  EXPECT_EQ(submit({kDemo}), SLURM_ERROR);
  EXPECT_THAT(message(), StartsWith("stint: plan table"));
}

TEST_F(JobSubmit, ANewTableHoldsForTheNextJob) {
  ASSERT_EQ(submit({kDemo}), SLURM_SUCCESS);
  PlanTable table = table_of_now();
  table.plans[0].state = "cancelled";
  publish(table);
  EXPECT_EQ(submit({kDemo}), ESLURM_RESERVATION_ACCESS);
}

TEST_F(JobSubmit, OwnerCannotMoveAJobOutOfItsPlan) {
  EXPECT_EQ(modify(kAlice, ""), ESLURM_RESERVATION_ACCESS);
  EXPECT_EQ(modify(kAlice, "maintenance"), ESLURM_RESERVATION_ACCESS);
  EXPECT_EQ(modify(kAlice, "demo.0"), SLURM_SUCCESS);
  EXPECT_EQ(modify(kAlice, nullptr), SLURM_SUCCESS) << "a change of something else";
}

TEST_F(JobSubmit, OnlyAPlansJobIsHeldInItsPlan) {
  struct {
    std::uint32_t magic = 0xf0b7392c;
    char* account = nullptr;
    char* admin_comment = nullptr;
  } record;
  EXPECT_EQ(modify(kAlice, "maintenance", &record), SLURM_SUCCESS);
  std::string comment = "stint plan=demo";
  record.admin_comment = comment.data();
  EXPECT_EQ(modify(kAlice, "maintenance", &record), ESLURM_RESERVATION_ACCESS);
  record.magic = 0;
  record.admin_comment = reinterpret_cast<char*>(1);
  EXPECT_EQ(modify(kAlice, "maintenance", &record), ESLURM_RESERVATION_ACCESS) << "not read";
}

TEST_F(JobSubmit, OperatorsOfSlurmdbdMoveJobsAsSlurmAllows) {
  fake_slurm().operators = {kAlice};
  EXPECT_EQ(modify(kAlice, ""), SLURM_SUCCESS);
  fake_slurm().operators.clear();
  EXPECT_EQ(modify(kAlice, ""), ESLURM_RESERVATION_ACCESS);
}

TEST_F(JobSubmit, OperatorsAndStrangersMoveJobsAsSlurmAllows) {
  EXPECT_EQ(modify(0, ""), SLURM_SUCCESS);
  EXPECT_EQ(modify(64030, ""), SLURM_SUCCESS);
  EXPECT_EQ(modify(kCarol, ""), SLURM_SUCCESS);
}

TEST_F(JobSubmit, ATableThatVanishesDoesNotOpenTheDoor) {
  ASSERT_EQ(modify(kAlice, ""), ESLURM_RESERVATION_ACCESS);
  std::filesystem::remove(folder_ + "/stint_plans.ini");
  EXPECT_EQ(modify(kAlice, ""), ESLURM_RESERVATION_ACCESS);
}

TEST_F(JobSubmit, WithoutATableEverNobodyIsHeld) {
  std::filesystem::remove(folder_ + "/stint_plans.ini");
  EXPECT_EQ(modify(kAlice, ""), SLURM_SUCCESS);
}

// Entries as a hostile client could send them: valid ones, damaged at random places, in random number.
TEST_F(JobSubmit, SurvivesRandomEntries) {
  const std::vector<std::string> seeds = {kDemo,
                                          "SPANK__SLURM_SPANK_OPTION_stint_training_plan=later",
                                          "STINT_NODES=3",
                                          "STINT_GRES=gpu:8",
                                          "STINT_TIME_LIMIT=30",
                                          "STINT_RECIPE=tiny@01234567"};
  std::mt19937 random(7);
  const auto below = [&](std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random);
  };
  int accepted = 0, refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::string> entries(below(6));
    for (std::string& entry : entries) {
      entry = seeds[below(seeds.size())];
      for (std::size_t damage = below(4); damage > 0 && !entry.empty(); --damage) {
        const std::size_t at = below(entry.size());
        if (below(3) == 0) entry[at] = static_cast<char>(1 + below(255));
        if (below(3) == 0) entry.erase(at, below(5));
        if (below(8) == 0) entry.insert(std::min(at, entry.size()), std::string(below(900), 'a'));
      }
    }
    (submit(entries) == SLURM_SUCCESS ? accepted : refused)++;
    if (job_.reservation) {
      EXPECT_TRUE(std::string(job_.reservation) == "demo.0" || std::string(job_.reservation) == "later.0");
    }
    for (char** text : {&job_.reservation, &job_.partition, &job_.tres_per_node, &job_.admin_comment}) {
      slurm_xfree(reinterpret_cast<void**>(text));
    }
    fill_defaults();
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace stint::spank
