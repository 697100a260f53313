// SPDX-License-Identifier: Apache-2.0
#include "reservations/ledger.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "base/error.h"
#include "tests/unit/reservations/scratch.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr sys_seconds at(std::int64_t second) {
  return sys_seconds{seconds{second}};
}

Plan demo(const std::string& name = "demo") {
  Plan plan;
  plan.name = name;
  plan.owner_uid = 4'000'000'000U;
  plan.owner = "alice";
  plan.users = {"alice", "bob"};
  plan.uids = {4'000'000'000U, 1'001};
  plan.kind.partition = "main";
  plan.nodes = 4;
  plan.spares = 1;
  plan.price = {167, "EUR", Rate{2'500'000}, {}};
  plan.switches = 2;
  plan.tags = {{"project", "llm"}, {"team", "a/b"}};
  plan.created = at(50);
  plan.segments.push_back({name + ".0", at(100), at(200), {"node1", "node2"}});
  return plan;
}

Plan at_phase(std::int64_t id, Phase phase, const std::string& reason = {}) {
  Plan plan;
  plan.id = id;
  plan.phase = phase;
  plan.reason = reason;
  return plan;
}

TEST(Ledger, PlanSurvivesClosingAndOpening) {
  const Scratch scratch;
  const std::string path = scratch.file("ledger.db");
  {
    Ledger ledger(path);
    const auto id = ledger.add_plan(demo());
    ledger.set_phase(at_phase(id, Phase::kBooked));
  }
  const Ledger ledger(path);
  const auto plan = ledger.find_plan("demo");
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->phase, Phase::kBooked);
  EXPECT_EQ(plan->owner_uid, 4'000'000'000U);
  EXPECT_THAT(plan->users, testing::ElementsAre("alice", "bob"));
  EXPECT_THAT(plan->uids, testing::ElementsAre(4'000'000'000U, 1'001U));
  EXPECT_EQ(plan->price.amount(), "1.67");
  EXPECT_EQ(plan->price.rate.format(), "2.50");
  EXPECT_EQ(to_string(plan->tags), "project=llm,team=a/b");
  ASSERT_EQ(plan->segments.size(), 1U);
  EXPECT_EQ(plan->segments[0].end, at(200));
  EXPECT_THAT(plan->segments[0].nodes, testing::ElementsAre("node1", "node2"));
}

TEST(Ledger, OneOfAnOlderVersionIsBroughtUpAndKeepsItsPlans) {
  const Scratch scratch;
  const std::string path = scratch.file("ledger.db");
  std::int64_t id = 0;
  {
    Ledger ledger(path);
    id = ledger.add_plan(demo());
  }
  {
    SQLite::Database database(path, SQLite::OPEN_READWRITE);
    database.exec(
        "DROP TABLE checks; DROP TABLE openings; DROP TABLE usage; DROP TABLE history; DROP TABLE changes; "
        "DROP INDEX plans_by_account; "
        "ALTER TABLE plans DROP COLUMN breakdown; ALTER TABLE plans DROP COLUMN refund_cents; "
        "ALTER TABLE plans DROP COLUMN features; ALTER TABLE plans DROP COLUMN gpus; "
        "ALTER TABLE plans DROP COLUMN account; ALTER TABLE plans DROP COLUMN needs_approval; "
        "ALTER TABLE plans DROP COLUMN kept_cents; ALTER TABLE plans DROP COLUMN kept_until; "
        "ALTER TABLE plans DROP COLUMN priced_gpus; ALTER TABLE plans DROP COLUMN accounts; "
        "ALTER TABLE plans DROP COLUMN members; ALTER TABLE plans DROP COLUMN member_uids; "
        "ALTER TABLE plans DROP COLUMN tags; ALTER TABLE segments DROP COLUMN released; DROP TABLE idle; "
        "DROP TABLE notice_mark; DROP TABLE "
        "outbox; "
        "PRAGMA user_version = 1");
  }
  Ledger ledger(path);
  auto plan = ledger.find_plan("demo");
  ASSERT_TRUE(plan);
  EXPECT_TRUE(plan->tags.empty());
  plan->tags = {{"project", "llm"}};
  ledger.set_tags(*plan, {5.5, "alice", "tagged", "project=llm"});
  EXPECT_EQ(to_string(ledger.find_plan("demo")->tags), "project=llm");
  ASSERT_EQ(ledger.history(id).size(), 1U);
  EXPECT_EQ(ledger.history(id)[0].who, "alice");
  EXPECT_TRUE(ledger.history(id + 1).empty());
}

TEST(Ledger, ADamagedFileIsRefusedAndTheWayOutNamed) {
  const Scratch scratch;
  const std::string path = scratch.file("ledger.db");
  { const Ledger ledger(path); }
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(2 * 4096);
    file << std::string(2'000, '\x7f');
  }
  try {
    const Ledger ledger(path);
    ADD_FAILURE() << "was opened";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("stintd restore FILE"));
  }
}

TEST(Ledger, IsReadableByItsOwnerOnly) {
  const Scratch scratch;
  const Ledger ledger(scratch.file("ledger.db"));
  struct stat info {};
  ASSERT_EQ(::stat(scratch.file("ledger.db").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
}

TEST(Ledger, ForbiddenChangeOfPhaseChangesNothing) {
  const Scratch scratch;
  Ledger ledger(scratch.file("ledger.db"));
  const auto id = ledger.add_plan(demo());
  ledger.set_phase(at_phase(id, Phase::kFailed, "no nodes"));
  EXPECT_THROW(ledger.set_phase(at_phase(id, Phase::kBooked)), Error);
  EXPECT_EQ(ledger.find_plan("demo")->phase, Phase::kFailed);
  EXPECT_EQ(ledger.find_plan("demo")->reason, "no nodes");
  EXPECT_THROW(ledger.set_phase(at_phase(id + 1, Phase::kBooked)), Error);
}

TEST(Ledger, NewestPlanOfANameIsFoundAndOldOnesAreLeftOut) {
  const Scratch scratch;
  Ledger ledger(scratch.file("ledger.db"));
  ledger.add_plan(demo());
  auto second = demo();
  second.segments[0].start = at(300);
  second.segments[0].end = at(400);
  const auto id = ledger.add_plan(second);
  EXPECT_EQ(ledger.find_plan("demo")->id, id);
  EXPECT_EQ(ledger.plans_since(at(201)).size(), 1U);
  EXPECT_EQ(ledger.plans_since(at(200)).size(), 2U);
  EXPECT_FALSE(ledger.find_plan("other"));
}

TEST(Ledger, OnlyIntentsCanBeDropped) {
  const Scratch scratch;
  Ledger ledger(scratch.file("ledger.db"));
  const auto intent = ledger.add_plan(demo("a"));
  const auto booked = ledger.add_plan(demo("b"));
  ledger.set_phase(at_phase(booked, Phase::kBooked));
  ledger.drop_plan(intent);
  EXPECT_FALSE(ledger.find_plan("a"));
  EXPECT_THROW(ledger.drop_plan(booked), Error);
  EXPECT_TRUE(ledger.find_plan("b"));
}

TEST(Ledger, SameFailureIsOneRecovery) {
  const Scratch scratch;
  Ledger ledger(scratch.file("ledger.db"));
  Recovery recovery;
  recovery.job = 7;
  recovery.node = "node3";
  recovery.noticed = 100;
  const auto id = ledger.add_recovery(recovery, at(50));
  ASSERT_TRUE(id);
  EXPECT_FALSE(ledger.add_recovery(recovery, at(50)));
  EXPECT_TRUE(ledger.recovers(7, 0));
  EXPECT_FALSE(ledger.recovers(7, 1));
  ledger.set_step(*id, Recovery::Step::kHold);
  ASSERT_EQ(ledger.open_recoveries().size(), 1U);
  EXPECT_EQ(ledger.open_recoveries()[0].step, Recovery::Step::kHold);
  ledger.set_step(*id, Recovery::Step::kDone);
  EXPECT_TRUE(ledger.open_recoveries().empty());
  EXPECT_FALSE(ledger.recovers(7, 0));
  EXPECT_FALSE(ledger.add_recovery(recovery, at(50)));
}

TEST(Ledger, ARecoveryOfAnotherLifeOfTheJobIdIsNoHindrance) {
  const Scratch scratch;
  Ledger ledger(scratch.file("ledger.db"));
  Recovery recovery;
  recovery.job = 7;
  recovery.node = "node3";
  recovery.noticed = 100;
  const auto first = ledger.add_recovery(recovery, at(50));
  ASSERT_TRUE(first);
  EXPECT_FALSE(ledger.add_recovery(recovery, at(200)));  // still open
  ledger.set_step(*first, Recovery::Step::kDone);
  EXPECT_TRUE(ledger.add_recovery(recovery, at(200)));
}

TEST(Ledger, EventsComeInOrderAndPerJob) {
  const Scratch scratch;
  Ledger ledger(scratch.file("ledger.db"));
  ledger.add_event({1.5, 7, "node_failed", "node3", "why; DROP TABLE events"});
  ledger.add_event({2.5, 8, "started", "", ""});
  ledger.add_event({3.5, 7, "started", "", ""});
  const auto events = ledger.events(7);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].detail, "why; DROP TABLE events");
  EXPECT_DOUBLE_EQ(events[1].t, 3.5);
}

TEST(Ledger, WhatWasWrittenIsThereAfterAKill) {
  const Scratch scratch;
  const std::string path = scratch.file("ledger.db");
  const pid_t child = ::fork();
  if (child == 0) {
    Ledger ledger(path);
    ledger.add_plan(demo());
    ::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  const Ledger ledger(path);
  EXPECT_TRUE(ledger.find_plan("demo"));
}

TEST(Ledger, FilesThatAreNoLedgerAreRefusedByName) {
  const Scratch scratch;
  std::ofstream(scratch.file("text")) << "this is not a database, and it is long enough to be one\n";
  for (const std::string& path : {scratch.file("text"), scratch.file("missing/ledger.db"), scratch.path()}) {
    try {
      const Ledger ledger(path);
      ADD_FAILURE() << path << " was accepted";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr("ledger " + path));
    }
  }
}

TEST(LedgerFile, IsSharedWithOtherMachinesUnlessItsFileSystemIsKnownToBeLocal) {
  EXPECT_TRUE(on_local_disk(0xEF53));       // ext4
  EXPECT_TRUE(on_local_disk(0x01021994));   // tmpfs
  EXPECT_FALSE(on_local_disk(0x6969));      // NFS
  EXPECT_FALSE(on_local_disk(0x0BD00BD0));  // Lustre
}

}  // namespace
}  // namespace stint::reservations
