// SPDX-License-Identifier: Apache-2.0
#include "spank/plan_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sample_table.h"

namespace stint::spank {
namespace {

using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

JobRequest job_in(const std::string& plan, std::uint32_t uid = kAlice) {
  JobRequest request;
  request.uid = uid;
  request.environment.plan = plan;
  return request;
}

JobRequest recipe_in(const std::string& plan, std::uint32_t nodes) {
  JobRequest request = job_in(plan);
  request.environment.recipe = "tiny@01234567";
  request.environment.nodes = nodes;
  return request;
}

JobChanges accepted(const JobRequest& request, sys_seconds now = kNow) {
  const Decision decision = decide_plan_job(request, sample_table(), now);
  if (const auto* refusal = std::get_if<Refusal>(&decision)) {
    ADD_FAILURE() << refusal->message;
    return {};
  }
  return std::get<JobChanges>(decision);
}

Refusal refused(const JobRequest& request, sys_seconds now = kNow) {
  const Decision decision = decide_plan_job(request, sample_table(), now);
  if (const auto* refusal = std::get_if<Refusal>(&decision)) return *refusal;
  ADD_FAILURE() << "was accepted";
  return {};
}

TEST(PlanJob, GetsReservationPartitionAndTag) {
  const JobChanges changes = accepted(recipe_in("demo", 4));
  EXPECT_EQ(changes.reservation, "demo.0");
  EXPECT_EQ(changes.partition, "main");
  EXPECT_EQ(changes.admin_comment, "stint plan=demo recipe=tiny@01234567");
  EXPECT_EQ(changes.note, "");
}

TEST(PlanJob, GetsItsNodeCountFromTheRecipe) {
  const JobChanges changes = accepted(recipe_in("demo", 3));
  EXPECT_EQ(changes.min_nodes, 3u);
  EXPECT_EQ(changes.max_nodes, 3u);
}

TEST(PlanJob, KeepsTheUsersNodeCountWhenItFits) {
  JobRequest request = recipe_in("demo", 9);
  request.min_nodes = request.max_nodes = 2;
  const JobChanges changes = accepted(request);
  EXPECT_EQ(changes.min_nodes, std::nullopt);
  EXPECT_EQ(changes.max_nodes, 2u);
}

TEST(PlanJob, NeverTakesASpare) {
  JobRequest open_ended = job_in("demo");
  open_ended.min_nodes = 2;
  open_ended.max_nodes = 10;
  EXPECT_EQ(accepted(open_ended).max_nodes, 4u);
  JobRequest tasks = job_in("demo");
  tasks.tasks = 64;
  EXPECT_EQ(accepted(tasks).min_nodes, std::nullopt);
  EXPECT_EQ(accepted(tasks).max_nodes, 4u);
}

TEST(PlanJob, TakesNoMoreNodesThanTasks) {
  JobRequest request = job_in("demo");
  request.tasks = 2;
  EXPECT_EQ(accepted(request).max_nodes, 2u);
  request.min_nodes = 3;
  EXPECT_EQ(accepted(request).max_nodes, 3u);
}

TEST(PlanJob, InteractiveJobWithFewerTasksThanTheRecipesNodesIsRefused) {
  JobRequest request = recipe_in("demo", 3);
  request.interactive = true;
  EXPECT_EQ(accepted(request).min_nodes, 3u);
  request.tasks = 3;
  EXPECT_EQ(accepted(request).min_nodes, 3u);
  request.tasks = 1;
  EXPECT_EQ(refused(request).message,
            "recipe tiny: wants 3 nodes, the job has 1 task; use -n 3 or more, or -N 1");
  request.environment.plan.clear();
  EXPECT_TRUE(std::holds_alternative<Refusal>(decide_recipe_job(request)));
  request.interactive = false;
  EXPECT_TRUE(std::holds_alternative<JobChanges>(decide_recipe_job(request)));
}

TEST(PlanJob, WithoutAnyWishTakesOneNode) {
  const JobChanges changes = accepted(job_in("demo"));
  EXPECT_EQ(changes.min_nodes, 1u);
  EXPECT_EQ(changes.max_nodes, 1u);
}

TEST(PlanJob, WantingMoreNodesThanThePlanHasIsRefused) {
  EXPECT_EQ(refused(recipe_in("demo", 5)).message,
            "plan demo: has 4 nodes, the recipe wants 5; use -N 4 or book a larger plan");
  JobRequest request = job_in("demo");
  request.min_nodes = 6;
  EXPECT_THAT(refused(request).message, HasSubstr("has 4 nodes, the job wants 6"));
  EXPECT_EQ(refused(request).cause, Cause::kNodes);
  JobRequest listed = job_in("demo");
  listed.required_nodes = "node[1-5]";
  EXPECT_THAT(refused(listed).message, HasSubstr("the node list wants 5"));
}

TEST(PlanJob, UnreadableNodeListIsLeftToSlurm) {
  JobRequest request = job_in("demo");
  request.required_nodes = "node[1-";
  EXPECT_EQ(accepted(request).max_nodes, 4u);
}

TEST(PlanJob, TimeLimitIsWhatIsLeftOfTheSegment) {
  EXPECT_EQ(accepted(job_in("demo")).time_limit, minutes(60));
  EXPECT_EQ(accepted(job_in("demo"), kNow + seconds(61)).time_limit, minutes(58));
}

TEST(PlanJob, TimeLimitIsTheWholeSegmentBeforeItBegins) {
  EXPECT_EQ(accepted(job_in("later")).time_limit, minutes(120));
}

TEST(PlanJob, ShorterWishesAreKept) {
  JobRequest request = job_in("demo");
  request.environment.time_limit = minutes(30);
  EXPECT_EQ(accepted(request).time_limit, minutes(30));
  request.time_limit = minutes(45);
  EXPECT_EQ(accepted(request).time_limit, minutes(45));
}

TEST(PlanJob, LongerWishOfTheUserIsCutAndSaidSo) {
  JobRequest request = job_in("demo");
  request.time_limit = minutes(600);
  const JobChanges changes = accepted(request);
  EXPECT_EQ(changes.time_limit, minutes(60));
  EXPECT_THAT(changes.note, HasSubstr("plan demo: time limit cut to 01:00:00"));
}

TEST(PlanJob, ThePartitionsLimitIsTheJobsToo) {
  PlanTable table = sample_table();
  for (auto& plan : table.plans) plan.max_time = minutes(40);
  const auto decide = [&](const JobRequest& request) { return decide_plan_job(request, table, kNow); };
  EXPECT_EQ(std::get<JobChanges>(decide(job_in("demo"))).time_limit, minutes(40));
  EXPECT_EQ(std::get<JobChanges>(decide(job_in("demo"))).note, "");
  JobRequest request = job_in("demo");
  request.time_limit = minutes(50);
  EXPECT_EQ(std::get<JobChanges>(decide(request)).note,
            "plan demo: time limit cut to 00:40:00; partition main allows no more");
  request.time_min = minutes(41);
  EXPECT_EQ(std::get<Refusal>(decide(request)).message,
            "plan demo: partition main allows 00:40:00 at most; lower --time-min");
}

// alice: physics by default, up to 20 minutes; QOS short allows 10.
PlanTable limited_table() {
  PlanTable table = sample_table();
  table.limits.qos = {{"short", minutes(10), false, false}};
  table.limits.associations = {{kAlice, "physics", "", true, "normal", minutes(20)}};
  return table;
}

TEST(PlanJob, MaxWallOfItsAccountOrQosIsTheJobsToo) {
  const auto limit_of = [](const std::string& account, const std::string& qos) {
    JobRequest request = job_in("demo");
    request.account = account;
    request.qos = qos;
    return std::get<JobChanges>(decide_plan_job(request, limited_table(), kNow)).time_limit;
  };
  EXPECT_EQ(limit_of("", ""), minutes(20));
  EXPECT_EQ(limit_of("physics", ""), minutes(20));
  EXPECT_EQ(limit_of("chem", ""), minutes(60));
  EXPECT_EQ(limit_of("", "short"), minutes(10));
}

TEST(PlanJob, WhatCutItsTimeIsNamed) {
  JobRequest request = job_in("demo");
  request.time_limit = minutes(30);
  EXPECT_EQ(std::get<JobChanges>(decide_plan_job(request, limited_table(), kNow)).note,
            "plan demo: time limit cut to 00:20:00; account physics allows no more");
  request.qos = "short";
  EXPECT_EQ(std::get<JobChanges>(decide_plan_job(request, limited_table(), kNow)).note,
            "plan demo: time limit cut to 00:10:00; QOS short allows no more");
  request.time_min = minutes(11);
  EXPECT_EQ(std::get<Refusal>(decide_plan_job(request, limited_table(), kNow)).message,
            "plan demo: QOS short allows 00:10:00 at most; lower --time-min");
}

TEST(PlanJob, LongerWishOfTheRecipeIsCutInSilence) {
  JobRequest request = job_in("demo");
  request.environment.time_limit = minutes(600);
  EXPECT_EQ(accepted(request).time_limit, minutes(60));
  EXPECT_EQ(accepted(request).note, "");
}

TEST(PlanJob, TimeMinBeyondTheSegmentIsRefused) {
  JobRequest request = job_in("demo");
  request.time_min = minutes(61);
  EXPECT_THAT(refused(request).message, HasSubstr("lower --time-min"));
  request.time_min = minutes(60);
  EXPECT_EQ(accepted(request).time_limit, minutes(60));
}

TEST(PlanJob, LessThanAMinuteLeftIsRefused) {
  EXPECT_EQ(accepted(job_in("demo"), kNow + seconds(3540)).time_limit, minutes(1));
  const Refusal refusal = refused(job_in("demo"), kNow + seconds(3541));
  EXPECT_EQ(refusal.cause, Cause::kTime);
  EXPECT_THAT(refusal.message, HasSubstr("less than a minute"));
}

TEST(PlanJob, LessThanAMinuteLeftMovesOnToTheNextSegment) {
  const JobChanges changes = accepted(job_in("split"));
  EXPECT_EQ(changes.reservation, "split.1");
  EXPECT_EQ(changes.time_limit, minutes(30));
}

TEST(PlanJob, BeginTimeChoosesTheSegmentAndTheTimeLeft) {
  JobRequest request = job_in("demo");
  request.begin_time = kNow + seconds(1800);
  EXPECT_EQ(accepted(request).time_limit, minutes(30));
  request.begin_time = kNow + seconds(7200);
  EXPECT_THAT(refused(request).message,
              AllOf(HasSubstr("plan demo: ends "), HasSubstr("before the job's --begin")));
  request.begin_time = kNow - seconds(7200);
  EXPECT_EQ(accepted(request).time_limit, minutes(60));
}

TEST(PlanJob, UnknownAndForeignPlansAreRefusedInTheSameWords) {
  EXPECT_EQ(refused(job_in("secret")).message,
            "plan secret: is not one of your plans; see 'stint plan list'");
  EXPECT_EQ(refused(job_in("zebra9")).message,
            "plan zebra9: is not one of your plans; see 'stint plan list'");
  EXPECT_EQ(refused(job_in("demo", kCarol)).message,
            "plan demo: is not one of your plans; see 'stint plan list'");
}

TEST(PlanJob, SuggestsOnlyTheUsersOwnPlans) {
  EXPECT_THAT(refused(job_in("demoo")).message, HasSubstr("did you mean 'demo'?"));
  EXPECT_THAT(refused(job_in("secre")).message, Not(HasSubstr("secret")));
}

TEST(PlanJob, PlansThatAreOverSayHow) {
  EXPECT_THAT(refused(job_in("old")).message,
              AllOf(HasSubstr("plan old: ended 20"), HasSubstr("stint plan create")));
  EXPECT_THAT(refused(job_in("gone")).message, HasSubstr("plan gone: was cancelled"));
  EXPECT_THAT(refused(job_in("waiting")).message,
              HasSubstr("waits for approval; submit again when an approver has run"));
  EXPECT_THAT(refused(job_in("broken")).message, HasSubstr("plan broken: failed"));
  EXPECT_THAT(refused(job_in("demo"), kNow + seconds(3600)).message, HasSubstr("plan demo: ended"));
}

TEST(PlanJob, OfAPlanThatWasReleasedTheRefusalSaysSo) {
  PlanTable table;
  table.plans = {with_segment(sample_plan("left", "expired", kAlice), -3600, -60)};
  table.plans[0].segments[0].released = true;
  const auto decision = decide_plan_job(job_in("left"), table, kNow);
  EXPECT_THAT(std::get<Refusal>(decision).message,
              AllOf(HasSubstr("plan left: was released 20"), HasSubstr("for no job was in it"),
                    HasSubstr("book another with 'stint plan create'")));
}

TEST(PlanJob, OneThatWaitsBecauseItsSegmentWasReleasedIsTold) {
  PlanTable table;
  table.plans = {
      with_segment(with_segment(sample_plan("left", "scheduled", kAlice), -3600, -60), 3600, 7200)};
  const auto note = [&] { return std::get<JobChanges>(decide_plan_job(job_in("left"), table, kNow)).note; };
  EXPECT_EQ(note(), "");
  table.plans[0].segments[0].released = true;
  EXPECT_THAT(note(), AllOf(HasSubstr("plan left: was released 20"), HasSubstr("the job waits")));
}

TEST(PlanJob, ContradictingReservationOrPartitionIsRefused) {
  JobRequest request = job_in("demo");
  request.reservation = "maintenance";
  EXPECT_EQ(refused(request).cause, Cause::kReservation);
  request.reservation = "demo.0";
  request.partition = "debug";
  EXPECT_EQ(refused(request).cause, Cause::kPartition);
  request.partition = "main";
  EXPECT_EQ(accepted(request).reservation, "demo.0");
}

TEST(PlanJob, HeterogeneousJobIsRefused) {
  JobRequest request = job_in("demo");
  request.heterogeneous = true;
  EXPECT_THAT(refused(request).message, HasSubstr("plan demo: heterogeneous"));
}

TEST(PlanJob, JobThatLostItsRecipeIsRefused) {
  JobRequest request = recipe_in("demo", 2);
  request.lost_recipe = true;
  EXPECT_THAT(refused(request).message, AllOf(HasSubstr("recipe tiny:"), HasSubstr("--export-file")));
}

TEST(PlanJob, GresOfTheUserWinsOverTheRecipes) {
  JobRequest request = recipe_in("demo", 2);
  request.environment.gres = "gpu:8";
  EXPECT_EQ(accepted(request).gres, "gpu:8");
  request.gres = "gres:gpu:4";
  EXPECT_EQ(accepted(request).gres, "");
}

Decision with_gpus(std::optional<int> gpus, const JobRequest& request) {
  PlanTable table = sample_table();
  table.plans[0].gpus = gpus;
  return decide_plan_job(request, table, kNow);
}

TEST(PlanJob, MoreGpusANodeThanThePlansNodesHaveAreRefused) {
  JobRequest request = recipe_in("demo", 2);
  request.environment.gres = "gpu:8";
  const auto refusal = std::get<Refusal>(with_gpus(4, request));
  EXPECT_EQ(refusal.cause, Cause::kGres);
  EXPECT_EQ(refusal.message,
            "plan demo: has 4 GPUs a node, the recipe wants 8; lower resources.gres or book nodes with more");
  request.gres = "gres:gpu:h100:2,gres:nic:1";
  EXPECT_EQ(std::get<Refusal>(with_gpus(1, request)).message,
            "plan demo: has 1 GPU a node, the job wants 2; lower --gres or --gpus-per-node or book nodes "
            "with more");
  EXPECT_THAT(std::get<Refusal>(with_gpus(0, request)).message, HasSubstr("has 0 GPUs a node"));
}

TEST(PlanJob, MoreGpusInAllThanThePlanHasOnSoManyNodesAreRefusedHoweverTheyAreAskedFor) {
  JobRequest request = recipe_in("demo", 2);
  request.gpus_per_job = "gres:gpu:5";
  EXPECT_EQ(std::get<Refusal>(with_gpus(2, request)).message,
            "plan demo: has 4 GPUs on 2 nodes, the job wants 5; lower --gpus or book nodes with more");
  request.gpus_per_job = "gres:gpu:4";
  EXPECT_TRUE(std::holds_alternative<JobChanges>(with_gpus(2, request)));
  request.gpus_per_job = "";
  request.gpus_per_task = "gres:gpu:2";
  request.tasks = 3;
  EXPECT_THAT(std::get<Refusal>(with_gpus(2, request)).message,
              HasSubstr("the job wants 6; lower --gpus-per-task"));
  request.gpus_per_task = "";
  request.gpus_per_socket = "gres:gpu:1";
  EXPECT_THAT(std::get<Refusal>(with_gpus(2, request)).message, HasSubstr("use --gpus-per-node"));
}

TEST(PlanJob, GpusThatThePlanHasOrMayHaveAreAccepted) {
  JobRequest request = recipe_in("demo", 2);
  request.environment.gres = "gpu:8";
  EXPECT_TRUE(std::holds_alternative<JobChanges>(with_gpus(8, request)));
  EXPECT_TRUE(std::holds_alternative<JobChanges>(with_gpus(std::nullopt, request)));
  request.gres = "gres:gpu:2";  // the user's own goes before the recipe's
  EXPECT_TRUE(std::holds_alternative<JobChanges>(with_gpus(2, request)));
  request.gres = request.environment.gres = "";
  EXPECT_TRUE(std::holds_alternative<JobChanges>(with_gpus(0, request)));
}

TEST(RecipeJob, TakesSizeFromTheRecipeAndNoReservation) {
  JobRequest request = recipe_in("", 4);
  request.environment.gres = "gpu:8";
  request.environment.time_limit = minutes(30);
  const auto changes = std::get<JobChanges>(decide_recipe_job(request));
  EXPECT_EQ(changes.min_nodes, 4u);
  EXPECT_EQ(changes.max_nodes, 4u);
  EXPECT_EQ(changes.time_limit, minutes(30));
  EXPECT_EQ(changes.gres, "gpu:8");
  EXPECT_EQ(changes.reservation, "");
  EXPECT_EQ(changes.partition, "");
  EXPECT_EQ(changes.admin_comment, "stint recipe=tiny@01234567");
}

TEST(RecipeJob, KeepsTheUsersOwnSizeAndTime) {
  JobRequest request = recipe_in("", 4);
  request.environment.time_limit = minutes(30);
  request.min_nodes = 2;
  request.time_limit = minutes(600);
  const auto changes = std::get<JobChanges>(decide_recipe_job(request));
  EXPECT_EQ(changes.min_nodes, std::nullopt);
  EXPECT_EQ(changes.max_nodes, std::nullopt);
  EXPECT_EQ(changes.time_limit, std::nullopt);
}

const std::string kPlanTag = "stint plan=demo recipe=tiny@01234567 time=60";

TEST(MovingAJob, APlansJobMovesOnlyBetweenLiveSegmentsOfOwnPlans) {
  const PlanTable table = sample_table();
  for (const char* target :
       {"", "maintenance", "secret.0", "old.0", "gone.0", "split.7", "demo", "demo.0,split.0"}) {
    EXPECT_TRUE(check_move(kAlice, kPlanTag, target, table, kNow)) << target;
    EXPECT_TRUE(check_move(kAlice, std::nullopt, target, table, kNow)) << target;
  }
  for (const char* target : {"demo.0", "later.0", "split.0", "split.1"}) {
    EXPECT_FALSE(check_move(kAlice, kPlanTag, target, table, kNow)) << target;
    EXPECT_FALSE(check_move(kAlice, std::nullopt, target, table, kNow)) << target;
  }
  EXPECT_TRUE(check_move(kAlice, kPlanTag, "split.0", table, kNow + seconds(60)));
}

TEST(MovingAJob, OtherJobsOfAPlansUserAreNotOurs) {
  for (const char* comment : {"", "moved by root", "stint recipe=tiny@01234567"}) {
    EXPECT_FALSE(check_move(kAlice, comment, "", sample_table(), kNow)) << comment;
    EXPECT_FALSE(check_move(kAlice, comment, "maintenance", sample_table(), kNow)) << comment;
  }
}

TEST(MovingAJob, UserWithoutPlansIsNotOurs) {
  EXPECT_FALSE(check_move(kCarol, std::nullopt, "", sample_table(), kNow));
  EXPECT_FALSE(check_move(kCarol, std::nullopt, "maintenance", sample_table(), kNow));
}

TEST(MovingAJob, AnEndedPlanHoldsItsOwnJobsOnly) {
  PlanTable table;
  table.plans = {with_segment(sample_plan("old", "expired", kAlice), -7200, -3600),
                 with_segment(sample_plan("gone", "cancelled", kAlice), -60, 3600)};
  EXPECT_TRUE(check_move(kAlice, kPlanTag, "", table, kNow));
  EXPECT_FALSE(check_move(kAlice, std::nullopt, "", table, kNow));
}

}  // namespace
}  // namespace stint::spank
