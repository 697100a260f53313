// SPDX-License-Identifier: Apache-2.0
#include "spank/job_environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"

namespace stint::spank {
namespace {

using ::testing::HasSubstr;

JobEnvironment parse(const std::vector<const char*>& entries) {
  return parse_job_environment(entries.data(), static_cast<std::uint32_t>(entries.size()));
}

std::string error_of(const std::vector<const char*>& entries) {
  try {
    parse(entries);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(JobEnvironment, ReadsOptionAndControlNames) {
  const JobEnvironment job =
      parse({"_SLURM_SPANK_OPTION_stint_training_plan=demo", "STINT_RECIPE=tiny-llama@0123abcd",
             "STINT_NODES=4", "STINT_GRES=gpu:h100:8", "STINT_TIME_LIMIT=90"});
  EXPECT_EQ(job.plan, "demo");
  EXPECT_EQ(job.recipe, "tiny-llama@0123abcd");
  EXPECT_EQ(job.nodes, 4u);
  EXPECT_EQ(job.gres, "gpu:h100:8");
  EXPECT_EQ(job.time_limit, std::chrono::minutes(90));
  EXPECT_TRUE(job.ours());
}

TEST(JobEnvironment, AcceptsThePrefixThatPrologsSee) {
  EXPECT_EQ(parse({"SPANK__SLURM_SPANK_OPTION_stint_training_plan=demo"}).plan, "demo");
  EXPECT_EQ(parse({"SPANK_STINT_NODES=3"}).nodes, 3u);
}

TEST(JobEnvironment, LeavesForeignNamesAlone) {
  const std::string huge = "OTHER=" + std::string(100'000, 'x');
  EXPECT_FALSE(parse({"_SLURM_SPANK_OPTION_pyxis_container_image=x", "STINT_NODESX=bad", "NOEQUALS", "",
                      "STINT_SOMETHING=\x01\x02", huge.c_str(), nullptr})
                   .ours());
  EXPECT_FALSE(parse_job_environment(nullptr, 7).ours());
}

TEST(JobEnvironment, NoneOptsOutOfAPlan) {
  EXPECT_FALSE(parse({"_SLURM_SPANK_OPTION_stint_training_plan=none"}).ours());
}

TEST(JobEnvironment, TheLastOfEqualNamesHolds) {
  EXPECT_EQ(parse({"STINT_NODES=3", "STINT_NODES=5"}).nodes, 5u);
}

TEST(JobEnvironment, RefusesAPlanThatIsNoName) {
  for (const char* plan : {"", "../../etc/passwd", "demo.0", "a b", "%n%s", "\xff\xfe", "1abc"}) {
    const std::string entry = std::string("_SLURM_SPANK_OPTION_stint_training_plan=") + plan;
    EXPECT_THAT(error_of({entry.c_str()}), HasSubstr("--training-plan: '")) << plan;
  }
}

TEST(JobEnvironment, ShowsNoControlCharacterOfABadValue) {
  const std::string error = error_of({"_SLURM_SPANK_OPTION_stint_training_plan=a\n\x1b[31mb"});
  EXPECT_THAT(error, HasSubstr("'a??[31mb'"));
}

TEST(JobEnvironment, RefusesNumbersOutOfRange) {
  for (const char* entry : {"STINT_NODES=0", "STINT_NODES=-1", "STINT_NODES=65537", "STINT_NODES=4x",
                            "STINT_NODES=", "STINT_NODES=99999999999999999999", "STINT_TIME_LIMIT=0",
                            "STINT_TIME_LIMIT=1e3", "STINT_TIME_LIMIT=4294967295"}) {
    EXPECT_THAT(error_of({entry}), HasSubstr("is no number from 1 to")) << entry;
  }
}

TEST(JobEnvironment, RefusesARecipeWithoutHashOrWithOddLetters) {
  for (const char* entry :
       {"STINT_RECIPE=", "STINT_RECIPE=llama", "STINT_RECIPE=llama@", "STINT_RECIPE=@01234567",
        "STINT_RECIPE=a b@01234567", "STINT_RECIPE=a@0123456G", "STINT_RECIPE=a=b@01234567"}) {
    EXPECT_THAT(error_of({entry}), HasSubstr("--recipe: '")) << entry;
  }
}

TEST(JobEnvironment, RefusesGresWithOddLetters) {
  for (const char* entry : {"STINT_GRES=", "STINT_GRES=gpu;rm", "STINT_GRES=gpu 8", "STINT_GRES=%s"}) {
    EXPECT_THAT(error_of({entry}), HasSubstr("gres")) << entry;
  }
}

TEST(JobEnvironment, RefusesAnEntryBeyondItsBound) {
  const std::string entry = "STINT_GRES=" + std::string(600, 'g');
  EXPECT_THAT(error_of({entry.c_str()}), HasSubstr("STINT_GRES: is too long"));
}

TEST(JobEnvironment, FindsAVariableByItsWholeName) {
  const std::vector<const char*> entries = {nullptr, "SLURM_STINT_RECIPE_X=1",
                                            "A=SLURM_STINT_RECIPE=", "SLURM_STINT_RECIPE=x"};
  EXPECT_FALSE(has_variable(entries.data(), 3, "SLURM_STINT_RECIPE"));
  EXPECT_TRUE(has_variable(entries.data(), 4, "SLURM_STINT_RECIPE"));
  EXPECT_FALSE(has_variable(nullptr, 4, "SLURM_STINT_RECIPE"));
}

}  // namespace
}  // namespace stint::spank
