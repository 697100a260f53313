// SPDX-License-Identifier: Apache-2.0
// spank_stint.so in the contexts that Slurm opens it in.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/contract.h"
#include "fake_slurm.h"

namespace stint::spank {
namespace {

using ::testing::Contains;
using ::testing::ExitedWithCode;
using ::testing::Pair;

constexpr char kInheritedPlan[] = "SLURM_SPANK__SLURM_SPANK_OPTION_stint_training_plan";

class SpankPlugin : public ::testing::Test {
 protected:
  using Hook = int(spank_t, int, char**);

  SpankPlugin() {
    fake_slurm() = {};
    plugin_ = ::dlopen(STINT_SPANK_PLUGIN, RTLD_LAZY | kKeepLoaded);
    if (!plugin_) throw std::runtime_error(::dlerror());
    ::setenv(contract::kConfigEnv, "", 1);
  }
  ~SpankPlugin() override {
    ::dlclose(plugin_);  // the options' values go with it
    for (const char* name : {"SLURM_JOB_ID", kInheritedPlan, contract::kPlanEnv, contract::kAddressEnv,
                             contract::kConfigEnv, "_SLURM_SPANK_OPTION_stint_training_plan"}) {
      ::unsetenv(name);
    }
    fake_slurm() = {};
  }

  int call(const char* hook, std::vector<std::string> arguments = {}) {
    std::vector<char*> pointers;
    pointers.reserve(arguments.size());
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    return reinterpret_cast<Hook*>(::dlsym(plugin_, hook))(nullptr, static_cast<int>(pointers.size()),
                                                           pointers.data());
  }
  int init() { return call("slurm_spank_init"); }
  int post_opt(std::vector<std::string> arguments = {}) {
    return call("slurm_spank_init_post_opt", std::move(arguments));
  }

  static int give(const std::string& name, const char* value, int remote = 0) {
    for (const spank_option& option : fake_slurm().options) {
      if (option.name == name) return option.cb(option.val, value, remote);
    }
    ADD_FAILURE() << "no option " << name;
    return -1;
  }

  void* plugin_ = nullptr;
};

using SpankPluginDeathTest = SpankPlugin;

TEST_F(SpankPlugin, RegistersBothOptionsWithAHelpTextInClientsAndSteps) {
  for (const spank_context_t context : {S_CTX_LOCAL, S_CTX_ALLOCATOR, S_CTX_REMOTE}) {
    fake_slurm().options.clear();
    fake_slurm().context = context;
    EXPECT_EQ(init(), 0);
    ASSERT_EQ(fake_slurm().options.size(), 2u);
    for (const spank_option& option : fake_slurm().options) {
      EXPECT_TRUE(option.usage && *option.usage && option.arginfo && option.has_arg == 1 && option.cb);
    }
  }
}

TEST_F(SpankPlugin, DoesNothingInSlurmdAndProlog) {
  for (const spank_context_t context : {S_CTX_SLURMD, S_CTX_JOB_SCRIPT, S_CTX_ERROR}) {
    fake_slurm().context = context;
    EXPECT_EQ(init(), 0);
    EXPECT_EQ(post_opt({"nonsense"}), 0);
    EXPECT_TRUE(fake_slurm().options.empty());
  }
}

TEST_F(SpankPlugin, NeverFailsOnANode) {
  fake_slurm().context = S_CTX_REMOTE;
  fake_slurm().refuse_options = true;
  EXPECT_EQ(init(), 0);
  fake_slurm().refuse_options = false;
  EXPECT_EQ(init(), 0);
  for (const char* value : {"", "../../x", "demo"}) EXPECT_EQ(give("training-plan", value, 1), 0);
  EXPECT_EQ(give("recipe", nullptr, 1), 0);
  EXPECT_EQ(post_opt({"nonsense"}), 0);
}

TEST_F(SpankPlugin, ClientWithoutOurOptionsIsLeftAlone) {
  init();
  EXPECT_EQ(post_opt({"nonsense"}), 0);
  EXPECT_TRUE(fake_slurm().control.empty());
}

TEST_F(SpankPlugin, LastOfRepeatedValuesWins) {
  init();
  give("training-plan", "");
  give("training-plan", "first");
  give("training-plan", "second");
  EXPECT_EQ(post_opt(), 0);
  EXPECT_THAT(fake_slurm().control, Contains(Pair("_SLURM_SPANK_OPTION_stint_training_plan", "second")));
  EXPECT_STREQ(std::getenv(contract::kPlanEnv), "second");
}

TEST_F(SpankPlugin, InheritedValueNeverReplacesATypedOne) {
  ::setenv(kInheritedPlan, "outer", 1);
  init();
  give("training-plan", "script");                     // a #SBATCH line
  give("training-plan", std::getenv(kInheritedPlan));  // then Slurm passes on the job's
  EXPECT_EQ(post_opt(), 0);
  EXPECT_THAT(fake_slurm().control, Contains(Pair("_SLURM_SPANK_OPTION_stint_training_plan", "script")));
}

TEST_F(SpankPlugin, NestedSubmitInheritsThePlan) {
  ::setenv("SLURM_JOB_ID", "17", 1);
  ::setenv(kInheritedPlan, "outer", 1);
  init();
  give("training-plan", std::getenv(kInheritedPlan));
  EXPECT_EQ(post_opt(), 0);
  EXPECT_THAT(fake_slurm().control, Contains(Pair("_SLURM_SPANK_OPTION_stint_training_plan", "outer")));
  ASSERT_EQ(fake_slurm().infos.size(), 1u);
}

TEST_F(SpankPlugin, StepThatOnlyInheritsIsLeftAlone) {
  fake_slurm().context = S_CTX_LOCAL;
  ::setenv("SLURM_JOB_ID", "17", 1);
  ::setenv(kInheritedPlan, "outer", 1);
  init();
  give("training-plan", std::getenv(kInheritedPlan));
  EXPECT_EQ(post_opt({"nonsense"}), 0);
  EXPECT_TRUE(fake_slurm().control.empty());
}

TEST_F(SpankPluginDeathTest, BadValueEndsTheClientBeforeAnythingIsSent) {
  init();
  give("training-plan", "");
  EXPECT_EXIT(post_opt(), ExitedWithCode(1), "stint: --training-plan: is empty");
  give("training-plan", "demo");
  give("recipe", "no-such-recipe");
  EXPECT_EXIT(post_opt(), ExitedWithCode(1), "stint: .*no-such-recipe");
}

TEST_F(SpankPluginDeathTest, UnknownArgumentInPlugstackIsNamed) {
  init();
  give("training-plan", "demo");
  EXPECT_EXIT(post_opt({"cnf=/etc/x"}), ExitedWithCode(1), "unknown argument 'cnf=/etc/x'");
  EXPECT_EXIT(post_opt({"conf=/nowhere/stint.conf"}), ExitedWithCode(1), "/nowhere/stint.conf");
}

}  // namespace
}  // namespace stint::spank
