// SPDX-License-Identifier: Apache-2.0
#include "reservations/health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/ini.h"

namespace stint::reservations {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr std::int64_t kGiB = 1LL << 30;

const char* const kLine =
    "NodeName=node1 Arch=x86_64 CoresPerSocket=1  CPUAlloc=2 CPUEfctv=2 CPUTot=2 CPULoad=0.10 "
    "AvailableFeatures=(null)"
    " ActiveFeatures=(null) Gres=gpu:a100:4(S:0-1),gpu:2 NodeAddr=127.0.0.1 OS=Linux 6.1 #1 SMP "
    "RealMemory=4096 "
    "AllocMem=0 FreeMem=21352 Sockets=2 Boards=1 State=IDLE ThreadsPerCore=1 TmpDisk=1024 Weight=1\n";

NodeRecord record() {
  return parse_node_record(kLine);
}

TEST(Health, ANodesRecordIsRead) {
  EXPECT_EQ(record().cpus, 2);
  EXPECT_EQ(record().gpus, 6);
  EXPECT_EQ(record().memory, 4 * kGiB);
  EXPECT_EQ(record().tmp_disk, kGiB);
  EXPECT_TRUE(record().in_use);
  EXPECT_EQ(parse_node_record("NodeName=n CPUTot=8 Gres=(null) RealMemory=1").gpus, 0);
  EXPECT_THROW(parse_node_record("slurm_load_node error: Unable to contact slurm controller"), Error);
}

TEST(Health, MemoryThatIsMissingOrTakenIsBad) {
  EXPECT_EQ(judge_memory(record(), {8 * kGiB, 7 * kGiB}, 80, true).health, Health::kOk);
  EXPECT_EQ(judge_memory(record(), {3 * kGiB, 3 * kGiB}, 80, false).health, Health::kBad);
  const auto taken = judge_memory(record(), {8 * kGiB, 3 * kGiB}, 80, true);
  EXPECT_EQ(taken.health, Health::kBad);
  EXPECT_EQ(taken.found, "3.0 GiB are free of 8.0 GiB, wants 80 % of the 4.0 GiB that Slurm expects");
}

TEST(Health, MemoryThatJobsUseIsNotJudged) {
  const auto finding = judge_memory(record(), {8 * kGiB, kGiB}, 80, false);
  EXPECT_EQ(finding.health, Health::kOk);
  EXPECT_THAT(finding.found, HasSubstr("not judged: jobs run here"));
}

TEST(Health, FewerCpusThanSlurmExpectsAreBadAndMoreAreNot) {
  EXPECT_EQ(judge_cpus(record(), 1).health, Health::kBad);
  EXPECT_EQ(judge_cpus(record(), 2).health, Health::kOk);
  EXPECT_EQ(judge_cpus(record(), 64).health, Health::kOk);
}

TEST(Health, ADiskThatIsSmallerThanPromisedOrFullIsBad) {
  EXPECT_EQ(judge_disk(record(), "/tmp", 10 * kGiB, 5 * kGiB, kGiB).health, Health::kOk);
  EXPECT_THAT(judge_disk(record(), "/tmp", kGiB / 2, kGiB / 2, 0).found, HasSubstr("Slurm expects 1.0 GiB"));
  EXPECT_THAT(judge_disk(record(), "/tmp", 10 * kGiB, kGiB / 2, kGiB).found,
              HasSubstr("0.5 GiB free, wants"));
  EXPECT_EQ(judge_shared_memory(kGiB / 2, kGiB).health, Health::kBad);
}

TEST(Health, AClockIsWrongOnlyWhereThatIsSure) {
  EXPECT_EQ(judge_clock(milliseconds{-3'500}, milliseconds{10}, milliseconds{3'000}).found,
            "3.5 s behind stintd's");
  EXPECT_EQ(judge_clock(milliseconds{3'500}, milliseconds{1'000}, milliseconds{3'000}).health, Health::kOk);
}

TEST(Health, GpusAreCountedWhereSlurmExpectsSome) {
  EXPECT_EQ(judge_gpus(parse_node_record("NodeName=n CPUTot=8"), 0, {}).health, Health::kSkipped);
  EXPECT_EQ(judge_gpus(record(), 0, {}).health, Health::kSkipped);
  EXPECT_EQ(judge_gpus(record(), 6, {}).health, Health::kOk);
  EXPECT_EQ(judge_gpus(record(), 6, 6).health, Health::kOk);
  EXPECT_EQ(judge_gpus(record(), 6, 5).health, Health::kBad);
  EXPECT_EQ(judge_gpus(record(), 0, 0).health, Health::kBad);
}

TEST(Health, FindingsSurviveTheWay) {
  const std::vector<Finding> findings{{"memory", Health::kOk, "fine", ""},
                                      {"site", Health::kBad, "fan 3\nstands still", "look"},
                                      {"gpus", Health::kSkipped, "none", ""},
                                      {"disk", Health::kBad, std::string(500, 'x'), "clean"}};
  const auto read = parse_findings({{"checks", to_json(findings)}});
  ASSERT_EQ(read.size(), 4U);
  EXPECT_FALSE(all_good(read));
  EXPECT_EQ(bad_ones(read), "site: fan 3?stands still; disk: " + std::string(200, 'x'));
  EXPECT_EQ(read[2].health, Health::kSkipped);
}

TEST(Health, FindingsOfAWrongFormAreRefused) {
  for (const char* body : {R"({})", R"({"checks":7})", R"({"checks":[7]})", R"({"checks":[{"name":"x"}]})"})
    EXPECT_THROW(parse_findings(nlohmann::json::parse(body)), Error) << body;
}

TEST(Health, SettingsNameTheirLine) {
  const auto read = [](const std::string& text) {
    return read_health_rules(IniFile::parse("[health]\n" + text + "\n", "stint.conf"));
  };
  EXPECT_EQ(read("free_disk = 20G").free_disk, 20 * kGiB);
  EXPECT_EQ(read("timeout = 1m").timeout, std::chrono::seconds{60});
  for (const char* line : {"free_disk = 20", "free_memory = 101", "timeout = 1h", "command = check"}) {
    try {
      read(line);
      ADD_FAILURE() << line;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("stint.conf:2: '"));
    }
  }
}

}  // namespace
}  // namespace stint::reservations
