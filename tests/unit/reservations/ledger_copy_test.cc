// SPDX-License-Identifier: Apache-2.0
#include "reservations/ledger_copy.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "reservations/ledger.h"
#include "tests/unit/reservations/scratch.h"

namespace stint::reservations {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using std::chrono::sys_seconds;
using testing::HasSubstr;

constexpr sys_seconds kStart{seconds{1'000'000}};

class LedgerCopyTest : public testing::Test {
 protected:
  static Plan plan_of(const std::string& name) {
    Plan plan;
    plan.name = name;
    plan.owner = "alice";
    plan.kind.partition = "main";
    plan.price.currency = "EUR";
    plan.tags = {{"project", "llm"}};
    plan.segments.push_back({name + ".0", kStart, kStart + hours{1}, {"node1"}});
    return plan;
  }
  std::size_t plans_in(const std::string& path) { return Ledger(path).plans_since({}).size(); }
  std::size_t files() {
    const auto folder = std::filesystem::directory_iterator(scratch_.path());
    return static_cast<std::size_t>(std::distance(begin(folder), end(folder)));
  }
  std::string error_of_restoring(const std::string& file) {
    try {
      restore_ledger(file, ledger_);
    } catch (const Error& error) {
      return error.what();
    }
    return {};
  }

  Scratch scratch_;
  std::string ledger_ = scratch_.file("ledger.db");
  std::string copy_ = scratch_.file("copy.db");
};

TEST_F(LedgerCopyTest, ACopyIsWholePrivateAndOneFile) {
  Ledger ledger(ledger_);
  ledger.add_plan(plan_of("one"));
  back_up_ledger(ledger_, copy_);
  ledger.add_plan(plan_of("two"));
  struct stat status {};
  ASSERT_EQ(::stat(copy_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
  EXPECT_FALSE(std::filesystem::exists(copy_ + "-wal"));
  EXPECT_EQ(plans_in(copy_), 1U);
  back_up_ledger(ledger_, copy_);
  EXPECT_EQ(plans_in(copy_), 2U);
  EXPECT_EQ(to_string(Ledger(copy_).find_plan("one")->tags), "project=llm");
}

TEST_F(LedgerCopyTest, ACopyMadeWhileTheLedgerIsWrittenIsConsistent) {
  Ledger ledger(ledger_);
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) ledger.add_plan(plan_of("p" + std::to_string(i)));
  });
  for (int round = 0; round < 5; ++round) {
    back_up_ledger(ledger_, copy_);
    for (const auto& plan : Ledger(copy_).plans_since({})) EXPECT_EQ(plan.segments.size(), 1U);
  }
  stop = true;
  writer.join();
}

TEST_F(LedgerCopyTest, RestoringKeepsTheOldLedgerBesideTheNew) {
  {
    Ledger ledger(ledger_);
    ledger.add_plan(plan_of("one"));
    back_up_ledger(ledger_, copy_);
    ledger.add_plan(plan_of("two"));
  }
  const auto aside = restore_ledger(copy_, ledger_);
  EXPECT_EQ(plans_in(ledger_), 1U);
  EXPECT_EQ(plans_in(aside), 2U);
  struct stat status {};
  ASSERT_EQ(::stat(ledger_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
}

TEST_F(LedgerCopyTest, ALedgerIsRestoredWhereThereIsNoneOrADamagedOne) {
  { Ledger(ledger_).add_plan(plan_of("one")); }
  back_up_ledger(ledger_, copy_);
  std::filesystem::remove(ledger_);
  EXPECT_EQ(restore_ledger(copy_, ledger_), "");
  EXPECT_EQ(plans_in(ledger_), 1U);
  std::ofstream(ledger_) << "not a database, not a database, not a database, not a database, not a database";
  EXPECT_NE(restore_ledger(copy_, ledger_), "");
  EXPECT_EQ(plans_in(ledger_), 1U);
}

TEST_F(LedgerCopyTest, WhatIsNoLedgerIsRefusedAndNothingChanges) {
  { Ledger(ledger_).add_plan(plan_of("one")); }
  back_up_ledger(ledger_, copy_);
  const auto before = files();
  std::ofstream(scratch_.file("text")) << "hello, hello, hello";
  EXPECT_THAT(error_of_restoring(scratch_.file("text")), HasSubstr("is it a ledger of stintd?"));
  {
    SQLite::Database(scratch_.file("other"), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE)
        .exec("CREATE TABLE t(x)");
  }
  EXPECT_THAT(error_of_restoring(scratch_.file("other")), HasSubstr("is no ledger of stintd"));
  { SQLite::Database(copy_, SQLite::OPEN_READWRITE).exec("PRAGMA user_version = 99"); }
  EXPECT_THAT(error_of_restoring(copy_), HasSubstr("newer stintd (version 99"));
  EXPECT_THAT(error_of_restoring(scratch_.file("absent")), HasSubstr("there is no such file"));
  EXPECT_EQ(files(), before + 2);
  EXPECT_EQ(plans_in(ledger_), 1U);
}

}  // namespace
}  // namespace stint::reservations
