// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <algorithm>
#include <random>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "tests/unit/base/temporary.h"

namespace stint {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(HostList, ExpandsRangesListsAndSeveralBrackets) {
  EXPECT_THAT(parse_host_list("node[1-3,7],gpu01"), ElementsAre("node1", "node2", "node3", "node7", "gpu01"));
  EXPECT_THAT(parse_host_list("n[08-10]"), ElementsAre("n08", "n09", "n10"));
  EXPECT_THAT(parse_host_list("r[1-2]n[1-2]-ib"), ElementsAre("r1n1-ib", "r1n2-ib", "r2n1-ib", "r2n2-ib"));
  EXPECT_THAT(parse_host_list("a, b"), ElementsAre("a", "b"));
  EXPECT_THAT(parse_host_list(""), testing::IsEmpty());
}

TEST(HostList, FormatsShort) {
  EXPECT_EQ(format_host_list({"node3", "node1", "node2", "gpu01"}), "node[1-3],gpu01");
  EXPECT_EQ(format_host_list({"n9", "n10", "n11"}), "n[9-11]");
  EXPECT_EQ(format_host_list({"n08", "n09", "n10"}), "n[08-10]");
  EXPECT_EQ(format_host_list({"n1", "n01"}), "n[1,01]");
  EXPECT_EQ(format_host_list({"n5", "n5"}), "n5");
  EXPECT_EQ(format_host_list({"login", "n", "n1"}), "login,n,n1");
  EXPECT_EQ(format_host_list({}), "");
}

TEST(HostList, RefusesMalformedText) {
  for (const char* text : {"n[1-3", "n1-3]", "n[[1]]", "n[]", "n[3-1]", "n[a-b]", "n[1-]", "n[-1]", "n[1,]",
                           ",", "a,", "a,,b", "n 1", "n$", "n[1-2", "n[1-2-3]", "n[9999999999999999999]"}) {
    EXPECT_THAT(error_of([&] { parse_host_list(text); }), HasSubstr("host list")) << text;
  }
}

TEST(HostList, IsBounded) {
  EXPECT_EQ(parse_host_list("n[1-65536]").size(), 65536U);
  EXPECT_THAT(error_of([] { parse_host_list("n[1-65537]"); }), HasSubstr("more than 65536 hosts"));
  EXPECT_THAT(error_of([] { parse_host_list("a[1-300]b[1-300]"); }), HasSubstr("more than 65536 hosts"));
  EXPECT_THAT(error_of([] { parse_host_list("n[0-999999999999999999]"); }),
              HasSubstr("more than 65536 hosts"));
}

TEST(HostList, RandomSetsComeBack) {
  std::mt19937 random(11);
  const std::vector<std::string> prefixes = {"n", "node", "rack1-n", "gpu0x", "a.b"};
  for (int round = 0; round < 500; ++round) {
    std::set<std::string> hosts;
    const std::size_t count = 1 + random() % 40;
    while (hosts.size() < count) {
      const std::string digits = std::to_string(random() % 120);
      const std::string padding(random() % 3 == 0 ? random() % 3 : 0, '0');
      hosts.insert(prefixes[random() % prefixes.size()] + (random() % 20 == 0 ? "-ib" : padding + digits));
    }
    std::vector<std::string> shuffled(hosts.begin(), hosts.end());
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    const std::vector<std::string> back = parse_host_list(format_host_list(shuffled));
    EXPECT_EQ(back.size(), hosts.size()) << format_host_list(shuffled);
    EXPECT_EQ(std::set<std::string>(back.begin(), back.end()), hosts) << format_host_list(shuffled);
  }
}

}  // namespace
}  // namespace stint
