// SPDX-License-Identifier: Apache-2.0
// The client half as spank_stint.so uses it: opened as a shared object, with a host that records.
#include "spank/client.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>

#include "base/contract.h"
#include "base/ini.h"
#include "recipes/recipe.h"

namespace stint::spank {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Not;
using ::testing::Pair;

struct Host {
  std::map<std::string, std::string> control;
  std::vector<std::string> errors, notes;
  bool refuse = false;
};

Host* the_host = nullptr;

// What the user said; the fields of stint_client_request.
struct Said {
  const char* plan_given = nullptr;
  const char* plan_inherited = nullptr;
  const char* recipe_given = nullptr;
  const char* recipe_inherited = nullptr;
  const char* clusters = nullptr;
  bool step = false;
};

class ClientHalf : public ::testing::Test {
 protected:
  ClientHalf() {
    std::string folder = ::testing::TempDir() + "stint-client-XXXXXX";
    if (!::mkdtemp(folder.data())) std::abort();
    folder_ = folder;
    write_file_atomically(folder + "/book.txt", "once upon a time");
    write_recipe("base = tiny-llama\n[data]\npath = " + folder + "/book.txt\n");
    write_file_atomically(folder + "/stint.conf",
                          "[stintd]\naddress = head:6821\n[recipes]\npath = " + folder + "\n");
    config_ = folder + "/stint.conf";
    the_host = &host_;
    clear_environment();
    void* half = ::dlopen(STINT_CLIENT_HALF, RTLD_NOW | RTLD_LOCAL);
    void* symbol = half ? ::dlsym(half, STINT_CLIENT_PREPARE) : nullptr;
    if (!symbol) throw std::runtime_error(::dlerror());
    prepare_ = reinterpret_cast<stint_client_prepare_f*>(symbol);
  }
  ~ClientHalf() override {
    clear_environment();
    std::filesystem::remove_all(folder_);
  }

  static void clear_environment() {
    for (const char* name : {contract::kRecipeEnv, contract::kPlanEnv, contract::kAddressEnv, "SLURM_JOB_ID",
                             "SLURM_SPANK_STINT_NODES", "_SLURM_SPANK_OPTION_stint_training_plan"}) {
      ::unsetenv(name);
    }
  }

  void write_recipe(const std::string& text) {
    write_file_atomically(folder_ + "/mine.ini", "[recipe]\ndescription = test\n" + text);
  }

  int prepare(const Said& said) {
    const stint_client_request request = {said.plan_given,
                                          said.plan_inherited,
                                          said.recipe_given,
                                          said.recipe_inherited,
                                          config_.c_str(),
                                          said.clusters,
                                          "here",
                                          said.step};
    const stint_client_host host = {
        &host_,
        [](void* context, const char* name, const char* value) {
          Host& self = *static_cast<Host*>(context);
          self.control[name] = value;
          return self.refuse ? -1 : 0;
        },
        [](void* context, const char* name) { static_cast<Host*>(context)->control.erase(name); },
        [](const char* line) { the_host->errors.push_back(line); },
        [](const char* line) { the_host->notes.push_back(line); }};
    return prepare_(&request, &host);
  }

  static std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
  }

  // The environment of a program in a job that was submitted with this plan and recipe.
  void enter_job(const std::string& plan, const std::string& frozen) {
    ::setenv("SLURM_JOB_ID", "17", 1);
    ::setenv("SLURM_SPANK_STINT_NODES", "4", 1);
    ::setenv(contract::kPlanEnv, plan.c_str(), 1);
    ::setenv(contract::kAddressEnv, "head:6821", 1);
    ::setenv(contract::kRecipeEnv, frozen.c_str(), 1);
  }

  std::string frozen(const std::string& spec) {
    return recipes::freeze(recipes::resolve(spec, recipes::default_search_path({folder_})));
  }

  Host host_;
  std::string folder_, config_;
  stint_client_prepare_f* prepare_ = nullptr;
};

TEST_F(ClientHalf, RefusesJobsForOtherClusters) {
  EXPECT_NE(prepare({.plan_given = "demo", .clusters = "here,there"}), 0);
  EXPECT_THAT(host_.errors,
              ElementsAre("--training-plan: is for cluster here, not for 'there'; drop --clusters, or "
                          "submit on a machine of that cluster"));
  EXPECT_EQ(environment(contract::kPlanEnv), "");
  EXPECT_NE(prepare({.recipe_given = "mine", .clusters = "all"}), 0);
  EXPECT_NE(prepare({.plan_inherited = "demo", .clusters = "there"}), 0);
  EXPECT_EQ(prepare({.plan_given = "demo", .clusters = "here"}), 0);
  EXPECT_EQ(prepare({.plan_given = "none", .plan_inherited = "demo", .clusters = "there"}), 0);
}

TEST_F(ClientHalf, FreezesTheRecipeIntoTheEnvironment) {
  ASSERT_EQ(prepare({.plan_given = "demo", .recipe_given = "mine,resources.nodes=3"}), 0);
  const std::string text = environment(contract::kRecipeEnv);
  EXPECT_EQ(text, frozen("mine,resources.nodes=3"));
  EXPECT_EQ(environment(contract::kPlanEnv), "demo");
  EXPECT_EQ(environment(contract::kAddressEnv), "head:6821");
  EXPECT_THAT(host_.control, AllOf(Contains(Pair("STINT_NODES", "3")),
                                   Contains(Pair("STINT_RECIPE", "mine@" + recipes::hash(text))),
                                   Contains(Pair("_SLURM_SPANK_OPTION_stint_training_plan", "demo"))));
  EXPECT_THAT(host_.notes, IsEmpty());
}

TEST_F(ClientHalf, PassesGresAndTimeLimitOnlyWhereTheRecipeHasThem) {
  ASSERT_EQ(prepare({.recipe_given = "mine"}), 0);
  EXPECT_THAT(host_.control, AllOf(Not(Contains(Key("STINT_GRES"))), Not(Contains(Key("STINT_TIME_LIMIT")))));
  ASSERT_EQ(prepare({.recipe_given = "mine,resources.gres=gpu:8,resources.time_limit=90m"}), 0);
  EXPECT_THAT(host_.control,
              AllOf(Contains(Pair("STINT_GRES", "gpu:8")), Contains(Pair("STINT_TIME_LIMIT", "90"))));
}

TEST_F(ClientHalf, PlanAloneSetsNoRecipe) {
  ASSERT_EQ(prepare({.plan_given = "demo"}), 0);
  EXPECT_EQ(std::getenv(contract::kRecipeEnv), nullptr);
  EXPECT_THAT(host_.control, ElementsAre(Key("_SLURM_SPANK_OPTION_stint_training_plan")));
}

TEST_F(ClientHalf, BadInputIsOneErrorAndChangesNothing) {
  const std::string huge(70, 'p');
  const Said bad[] = {
      {.plan_given = ""},
      {.recipe_given = ""},
      {.plan_given = "../demo"},
      {.plan_given = huge.c_str()},
      {.plan_given = "demo", .recipe_given = "no-such-recipe"},
      {.plan_given = "demo", .recipe_given = "/nowhere/x.ini"},
      {.plan_given = "demo", .recipe_given = "mine,optim.learning_rte=1"},
      {.plan_given = "demo", .recipe_given = "mine,resources.nodes=0"},
  };
  for (const Said& said : bad) {
    host_.errors.clear();
    EXPECT_NE(prepare(said), 0);
    EXPECT_EQ(host_.errors.size(), 1u);
    EXPECT_EQ(std::getenv(contract::kPlanEnv), nullptr);
    EXPECT_EQ(std::getenv(contract::kRecipeEnv), nullptr);
    EXPECT_THAT(host_.control, IsEmpty());
  }
}

TEST_F(ClientHalf, RecipeErrorNamesFileLineAndTheLikelyKey) {
  write_recipe("base = tiny-llama\n[optim]\nlearning_rte = 1e-3\n");
  EXPECT_NE(prepare({.recipe_given = "mine"}), 0);
  EXPECT_THAT(host_.errors, ElementsAre(AllOf(HasSubstr("mine.ini:5: "), HasSubstr("learning_rate"))));
}

TEST_F(ClientHalf, RecipeLargerThanTheEnvironmentTakesIsRefused) {
  write_recipe("base = tiny-llama\n[data]\npath = /" + std::string(100'000, 'd') + "\n");
  EXPECT_NE(prepare({.recipe_given = "mine"}), 0);
  EXPECT_EQ(host_.errors.size(), 1u);
  EXPECT_EQ(std::getenv(contract::kRecipeEnv), nullptr);
}

TEST_F(ClientHalf, RefusalByTheHostIsReported) {
  host_.refuse = true;
  EXPECT_NE(prepare({.plan_given = "demo"}), 0);
  EXPECT_THAT(host_.errors, ElementsAre(HasSubstr("refused the job control variable")));
}

TEST_F(ClientHalf, MissingConfigurationIsReported) {
  config_ = folder_ + "/other.conf";
  EXPECT_NE(prepare({.plan_given = "demo"}), 0);
  EXPECT_THAT(host_.errors, ElementsAre(HasSubstr("other.conf")));
}

TEST_F(ClientHalf, NestedSubmitTrainsTheVeryTextOfItsJob) {
  const std::string carried = frozen("mine,run.steps=77,optim.warmup_steps=5");
  enter_job("demo", carried);
  write_recipe("base = tiny-llama\n[nonsense]\n");  // edited since: must not matter
  ASSERT_EQ(prepare({.plan_inherited = "demo", .recipe_inherited = "mine,run.steps=77"}), 0);
  EXPECT_EQ(environment(contract::kRecipeEnv), carried);
  EXPECT_THAT(host_.control, Contains(Pair("STINT_RECIPE", "mine@" + recipes::hash(carried))));
  EXPECT_THAT(host_.notes, ElementsAre(HasSubstr("plan demo: inherited from job 17")));
}

TEST_F(ClientHalf, NestedSubmitThatNamesARecipeReplacesIt) {
  enter_job("demo", frozen("mine"));
  ASSERT_EQ(
      prepare(
          {.plan_inherited = "demo", .recipe_given = "mine,resources.nodes=2", .recipe_inherited = "mine"}),
      0);
  EXPECT_EQ(environment(contract::kRecipeEnv), frozen("mine,resources.nodes=2"));
  EXPECT_THAT(host_.control, Contains(Pair("STINT_NODES", "2")));
}

TEST_F(ClientHalf, AScriptsOwnPlanGoesBeforeTheInheritedOne) {
  enter_job("demo", frozen("mine"));
  ASSERT_EQ(prepare({.plan_given = "other", .plan_inherited = "demo", .recipe_inherited = "mine"}), 0);
  EXPECT_THAT(host_.control, Contains(Pair("_SLURM_SPANK_OPTION_stint_training_plan", "other")));
  EXPECT_EQ(environment("_SLURM_SPANK_OPTION_stint_training_plan"), "other");
}

TEST_F(ClientHalf, OptingOutClearsAllThatWasInherited) {
  enter_job("demo", frozen("mine"));
  host_.control = {{"_SLURM_SPANK_OPTION_stint_training_plan", "none"},
                   {"_SLURM_SPANK_OPTION_stint_recipe", "mine"}};
  ASSERT_EQ(prepare({.plan_given = "none", .plan_inherited = "demo", .recipe_inherited = "mine"}), 0);
  for (const char* name :
       {contract::kRecipeEnv, contract::kPlanEnv, contract::kAddressEnv, "SLURM_SPANK_STINT_NODES"}) {
    EXPECT_EQ(std::getenv(name), nullptr) << name;
  }
  EXPECT_THAT(host_.control, IsEmpty());
}

TEST_F(ClientHalf, OptingOutKeepsARecipeThatIsNamedAnew) {
  enter_job("demo", frozen("mine"));
  ASSERT_EQ(
      prepare({.plan_given = "none", .plan_inherited = "demo", .recipe_given = "mine,resources.nodes=2"}), 0);
  EXPECT_EQ(environment(contract::kPlanEnv), "");
  EXPECT_EQ(environment(contract::kRecipeEnv), frozen("mine,resources.nodes=2"));
}

TEST_F(ClientHalf, AStepCannotChangeThePlan) {
  enter_job("demo", frozen("mine"));
  EXPECT_NE(prepare({.plan_given = "other", .step = true}), 0);
  EXPECT_THAT(host_.errors, ElementsAre(HasSubstr("job 17 has its nodes already")));
  EXPECT_EQ(prepare({.plan_given = "demo", .step = true}), 0);
  EXPECT_EQ(prepare({.plan_given = "none", .step = true}), 0);
  EXPECT_EQ(environment(contract::kPlanEnv), "demo");
}

TEST_F(ClientHalf, AStepCanTakeARecipeOfItsOwn) {
  enter_job("demo", frozen("mine"));
  ASSERT_EQ(prepare({.plan_inherited = "demo", .recipe_given = "mine,run.steps=99", .step = true}), 0);
  EXPECT_EQ(environment(contract::kRecipeEnv), frozen("mine,run.steps=99"));
  EXPECT_THAT(host_.control, IsEmpty());
}

}  // namespace
}  // namespace stint::spank
