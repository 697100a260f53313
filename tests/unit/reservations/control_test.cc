// SPDX-License-Identifier: Apache-2.0
#include "reservations/control.h"

#include <gtest/gtest.h>

#include <set>

namespace stint::reservations {
namespace {

std::string why(const std::string& own, const std::vector<std::string>& hosts,
                const std::set<std::size_t>& up, bool in_control = true) {
  return why_stand_by({hosts, [&](std::size_t i) { return up.contains(i); }, [&] { return in_control; }},
                      own);
}

TEST(Control, IsHereWhereThereIsNoChoice) {
  EXPECT_EQ(why("ctl", {"ctl"}, {}, false), "");
  EXPECT_EQ(why("service", {"ctl1", "ctl2"}, {}, false), "");
}

TEST(Control, IsWithTheFirstThatAnswers) {
  EXPECT_EQ(why("ctl1", {"ctl1", "ctl2"}, {0, 1}), "");
  EXPECT_EQ(why("ctl2", {"ctl1", "ctl2"}, {0, 1}), "the slurmctld of ctl1 is in control");
  EXPECT_EQ(why("ctl2", {"ctl1", "ctl2"}, {1}), "");
  EXPECT_EQ(why("ctl1", {"ctl1", "ctl2"}, {1}), "the slurmctld of this host does not answer");
}

TEST(Control, IsNowhereUntilABackupHasTakenOver) {
  EXPECT_EQ(why("ctl2", {"ctl1", "ctl2"}, {1}, false), "no slurmctld is in control yet");
}

TEST(Control, KnowsAHostByItsShortName) {
  EXPECT_EQ(why("ctl2.site.org", {"ctl1", "ctl2"}, {0, 1}), "the slurmctld of ctl1 is in control");
}

}  // namespace
}  // namespace stint::reservations
