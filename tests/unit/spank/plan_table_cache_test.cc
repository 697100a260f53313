// SPDX-License-Identifier: Apache-2.0
#include "spank/plan_table_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "base/error.h"
#include "base/ini.h"
#include "sample_table.h"

namespace stint::spank {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class PlanTableCacheTest : public ::testing::Test {
 protected:
  PlanTableCacheTest() {
    std::string folder = ::testing::TempDir() + "stint-table-XXXXXX";
    if (!::mkdtemp(folder.data())) std::abort();
    folder_ = folder;
    path_ = folder + "/stint_plans.ini";
  }
  ~PlanTableCacheTest() override { std::filesystem::remove_all(folder_); }

  void publish(const std::vector<PlanRow>& plans) {
    PlanTable table;
    table.plans = plans;
    write_file_atomically(path_, table.format());
  }
  void publish_garbage() { write_file_atomically(path_, "[plan demo]\nstate = perhaps\n"); }

  std::string read_error() {
    try {
      cache_.read(path_);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  std::string folder_, path_;
  PlanTableCache cache_;
};

TEST_F(PlanTableCacheTest, ReadsAgainOnlyWhenTheFileChanged) {
  publish({with_segment(sample_plan("one", "active", kAlice), 0, 60)});
  const auto first = cache_.read(path_);
  EXPECT_EQ(cache_.read(path_), first);
  publish({with_segment(sample_plan("two", "active", kAlice), 0, 60)});
  const auto second = cache_.read(path_);
  EXPECT_TRUE(second->find("two"));
  EXPECT_TRUE(first->find("one")) << "a copy that was handed out must stay whole";
}

TEST_F(PlanTableCacheTest, MissingTableNamesStintd) {
  EXPECT_THAT(read_error(), AllOf(HasSubstr("No such file"), HasSubstr("stintd")));
}

TEST_F(PlanTableCacheTest, DamagedTableIsRefusedAndNamesTheLine) {
  publish({});
  cache_.read(path_);
  publish_garbage();
  EXPECT_THAT(read_error(), AllOf(HasSubstr("plan table:2: "), HasSubstr("stintd")));
}

TEST_F(PlanTableCacheTest, AFolderInItsPlaceIsRefused) {
  std::filesystem::create_directory(path_);
  EXPECT_THAT(read_error(), HasSubstr("plan table"));
}

TEST_F(PlanTableCacheTest, ChangesAreJudgedByTheLastGoodTable) {
  EXPECT_EQ(cache_.last_known(path_), nullptr);
  publish({with_segment(sample_plan("one", "active", kAlice), 0, 60)});
  const auto good = cache_.last_known(path_);
  ASSERT_TRUE(good);
  publish_garbage();
  EXPECT_EQ(cache_.last_known(path_), good);
  std::filesystem::remove(path_);
  EXPECT_EQ(cache_.last_known(path_), good);
}

TEST_F(PlanTableCacheTest, ADamagedTableWithoutAGoodOneBeforeIsAnError) {
  publish_garbage();
  EXPECT_THROW(cache_.last_known(path_), Error);
}

TEST_F(PlanTableCacheTest, ReadersSeeWholeTablesWhileAWriterReplacesThem) {
  const auto plans = [](const std::string& name) {
    return std::vector<PlanRow>(1, with_segment(sample_plan(name, "active", kAlice), 0, 60));
  };
  publish(plans("even"));
  std::atomic<bool> stop = false;
  std::atomic<int> wrong = 0;
  std::vector<std::thread> readers;
  readers.reserve(4);
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&] {
      while (!stop) {
        const auto table = cache_.read(path_);
        if (table->plans.size() != 1 || !(table->find("even") || table->find("odd"))) ++wrong;
      }
    });
  }
  for (int i = 0; i < 100; ++i) publish(plans(i % 2 ? "odd" : "even"));
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace stint::spank
