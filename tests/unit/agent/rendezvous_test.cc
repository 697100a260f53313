// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

#include "base/error.h"
#include "trainer/agent/rendezvous.h"

namespace stint::agent {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class RendezvousTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = std::filesystem::temp_directory_path() / "stint-rendezvous.XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_;
};

TEST_F(RendezvousTest, MeetsWhenAllHavePublished) {
  Rendezvous first(folder_ / "12.0.0", {"node1", "node2", "gpu-03"});
  Rendezvous second(folder_ / "12.0.0", {"node1", "node2", "gpu-03"});
  first.publish("agent", "node1", {{"port", 1}});
  second.publish("agent", "gpu-03", {{"port", 3}});
  first.look();
  EXPECT_THAT(first.missing("agent"), ElementsAre("node2"));
  second.publish("agent", "node2", {{"port", 2}});
  first.look();
  EXPECT_THAT(first.missing("agent"), IsEmpty());
  EXPECT_EQ(first.find("agent", "gpu-03")->at("port"), 3);
  EXPECT_THAT(first.missing("workers"), ElementsAre("node1", "node2", "gpu-03"));
}

TEST_F(RendezvousTest, PassesOverWhatIsNotItsOwn) {
  Rendezvous rendezvous(folder_, {"node1"});
  std::ofstream(folder_ / "agent-node9.json") << "{}";
  std::ofstream(folder_ / "agent-node1.json") << "{\"port\":";
  std::ofstream(folder_ / "agent-node1.json.tmp") << "{}";
  std::ofstream(folder_ / "x.json") << "{}";
  std::filesystem::create_directory(folder_ / "workers-node1.json");
  rendezvous.look();
  EXPECT_THAT(rendezvous.missing("agent"), ElementsAre("node1"));
  EXPECT_EQ(rendezvous.find("agent", "node9"), nullptr);
  std::ofstream(folder_ / "agent-node1.json") << "{}";
  rendezvous.look();
  EXPECT_THAT(rendezvous.missing("agent"), IsEmpty());
}

TEST_F(RendezvousTest, OneAgentAloneGetsAClaim) {
  const Rendezvous first(folder_, {"node1", "node2"}), second(folder_, {"node1", "node2"});
  EXPECT_TRUE(second.claim("told"));
  EXPECT_FALSE(first.claim("told"));
  EXPECT_FALSE(second.claim("told"));
}

TEST_F(RendezvousTest, WhatIsTakenBackIsNotFound) {
  Rendezvous rendezvous(folder_, {"node1"});
  rendezvous.publish("agent", "node1", {{"port", 1}});
  rendezvous.withdraw("agent", "node1");
  rendezvous.look();
  EXPECT_EQ(rendezvous.find("agent", "node1"), nullptr);
}

TEST_F(RendezvousTest, NamesTheFolderThatCannotBe) {
  std::ofstream(folder_ / "file") << "x";
  try {
    Rendezvous rendezvous(folder_ / "file" / "below", {"node1"});
    FAIL() << "was created";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr((folder_ / "file" / "below").string()));
  }
}

}  // namespace
}  // namespace stint::agent
