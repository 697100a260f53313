// SPDX-License-Identifier: Apache-2.0
// stint_spank_client.so: the half of the SPANK plugin that thinks. Runs in sbatch, salloc or srun, as the
// user, and only for a job that uses our options. Freezes the recipe and fills both environments.
#include "spank/client.h"

#include <cstdlib>
#include <exception>
#include <optional>
#include <string>
#include <string_view>

#include "base/config.h"
#include "base/contract.h"
#include "base/error.h"
#include "base/text.h"
#include "recipes/recipe.h"

namespace stint::spank {
namespace {

using OptionalText = std::optional<std::string>;

constexpr char kJobIdEnv[] = "SLURM_JOB_ID";
constexpr char kPlanOptionEnv[] = "_SLURM_SPANK_OPTION_stint_training_plan";
constexpr char kRecipeOptionEnv[] = "_SLURM_SPANK_OPTION_stint_recipe";
constexpr char kInheritPrefix[] = "SLURM_SPANK_";  // how a job's options and control names reach its programs

OptionalText text_of(const char* text) {
  return text && *text ? OptionalText(text) : std::nullopt;
}

OptionalText environment(const char* name) {
  return text_of(std::getenv(name));
}

void set_environment(const char* name, const std::string& value) {
  if (::setenv(name, value.c_str(), 1) != 0) fail("cannot set {}: {}", name, errno_text(errno));
}

// One option after the rules of inheritance. `text` is empty when there is none.
struct Choice {
  std::string text;
  bool given = false;
};

std::string unless_opted_out(const char* text) {
  return text && std::string_view(text) != contract::kOptOut ? text : "";
}

Choice choose(const char* option, const char* given, const char* inherited) {
  if (!given) return {unless_opted_out(inherited), false};
  if (!*given) fail("--{}: is empty; give a name, or '{}' for no {}", option, contract::kOptOut, option);
  return {unless_opted_out(given), true};
}

struct Choices {
  Choice plan, recipe;
};

// Leaving the plan leaves the recipe that came with it, unless a recipe is named anew.
Choices choose(const stint_client_request& request) {
  Choices choices{choose(contract::kPlanOption, request.plan_given, request.plan_inherited),
                  choose(contract::kRecipeOption, request.recipe_given, request.recipe_inherited)};
  if (choices.plan.given && choices.plan.text.empty() && !choices.recipe.given) choices.recipe.text.clear();
  return choices;
}

struct FrozenRecipe {
  recipes::Recipe recipe;
  std::string text;
};

FrozenRecipe frozen(recipes::Recipe recipe) {
  std::string text = recipes::freeze(recipe);
  if (text.size() > contract::kMaxRecipeBytes) {
    fail("recipe {}: is {} bytes when complete, at most {} fit into a job; shorten its values", recipe.name,
         text.size(), contract::kMaxRecipeBytes);
  }
  return {std::move(recipe), std::move(text)};
}

FrozenRecipe resolve(const std::string& spec, const Config& config) {
  return frozen(recipes::resolve(spec, recipes::default_search_path(config.recipe_path)));
}

// "dir/llama.ini,optim.betas=0.9" -> "llama"
std::string name_of(std::string_view spec) {
  std::string_view name = spec.substr(0, spec.find(','));
  name.remove_prefix(name.rfind('/') == std::string_view::npos ? 0 : name.rfind('/') + 1);
  if (name.ends_with(".ini")) name.remove_suffix(4);
  return std::string(name);
}

// An inherited recipe is the text that the surrounding job carries, whatever became of its file since.
FrozenRecipe recipe_of(const Choice& choice, const Config& config) {
  if (!choice.given) {
    if (const OptionalText carried = environment(contract::kRecipeEnv)) {
      return frozen(recipes::parse_frozen(*carried, name_of(choice.text)));
    }
  }
  return resolve(choice.text, config);
}

class Control {
 public:
  explicit Control(const stint_client_host& host) : host_(host) {}

  void set(const char* name, const std::string& value) const {
    if (host_.control_set(host_.context, name, value.c_str()) != 0)
      fail("Slurm refused the job control variable {}", name);
  }
  void unset(const char* name) const {
    host_.control_unset(host_.context, name);
    ::unsetenv(name);
    ::unsetenv((std::string(kInheritPrefix) + name).c_str());
  }

 private:
  const stint_client_host& host_;
};

// What a job around us has left behind must not leak into a job that makes its own choices.
void clear_recipe(const Control& control) {
  for (const char* name : {contract::kControlNodes, contract::kControlGres, contract::kControlTimeLimit,
                           contract::kControlRecipe, kRecipeOptionEnv}) {
    control.unset(name);
  }
  ::unsetenv(contract::kRecipeEnv);
}

void clear_plan(const Control& control) {
  control.unset(kPlanOptionEnv);
  ::unsetenv(contract::kPlanEnv);
  ::unsetenv(contract::kAddressEnv);
}

void set_recipe(const FrozenRecipe& frozen, const std::string& spec, const Control& control) {
  const auto& resources = frozen.recipe.resources;
  set_environment(contract::kRecipeEnv, frozen.text);
  control.set(kRecipeOptionEnv, spec);
  control.set(contract::kControlRecipe, frozen.recipe.name + "@" + recipes::hash(frozen.text));
  control.set(contract::kControlNodes, std::to_string(resources.nodes));
  if (!resources.gres.empty()) control.set(contract::kControlGres, resources.gres);
  if (resources.time_limit.count() > 0) {
    control.set(contract::kControlTimeLimit, std::to_string(resources.time_limit.count()));
  }
}

// The option is written again: where a script's #SBATCH line and an inherited value differ, Slurm has kept
// the inherited one, and a user's own word goes before it.
void set_plan(const std::string& plan, const Control& control) {
  set_environment(contract::kPlanEnv, plan);
  set_environment(kPlanOptionEnv, plan);
  control.set(kPlanOptionEnv, plan);
}

void check_plan_name(const std::string& plan) {
  if (valid_name(plan)) return;
  fail(
      "--training-plan: '{}' is no plan name (a letter, then letters, digits, '-' or '_', at most {}); see "
      "'stint plan list'",
      plan.substr(0, 64), kMaxNameLength);
}

// A plan and its nodes belong to one cluster, as do the numbers that a recipe sets. Another cluster need not
// know Stint, and would run the job as if nothing had been asked for.
void check_clusters(const Choices& choices, const stint_client_request& request) {
  if (!request.clusters || (choices.plan.text.empty() && choices.recipe.text.empty())) return;
  const std::string own = request.own_cluster ? request.own_cluster : "";
  for (const std::string& cluster : split(request.clusters, ',')) {
    if (cluster.empty() || cluster == own) continue;
    fail("--{}: is for cluster {}, not for '{}'; drop --clusters, or submit on a machine of that cluster",
         choices.plan.text.empty() ? contract::kRecipeOption : contract::kPlanOption, own, cluster);
  }
}

void prepare_job(const Choices& choices, const stint_client_request& request, const stint_client_host& host) {
  const Config config = load_config(request.config_path ? request.config_path : "");
  const Control control(host);
  std::optional<FrozenRecipe> recipe;
  if (!choices.plan.text.empty()) check_plan_name(choices.plan.text);
  if (!choices.recipe.text.empty()) recipe = recipe_of(choices.recipe, config);
  clear_recipe(control);
  clear_plan(control);
  if (recipe) set_recipe(*recipe, choices.recipe.text, control);
  if (!choices.plan.text.empty()) set_plan(choices.plan.text, control);
  if (recipe || !choices.plan.text.empty()) set_environment(contract::kAddressEnv, config.address);
  if (!choices.plan.text.empty() && !choices.plan.given) {
    host.note(fmt::format("plan {}: inherited from job {}; --{}={} leaves it", choices.plan.text,
                          environment(kJobIdEnv).value_or("?"), contract::kPlanOption, contract::kOptOut)
                  .c_str());
  }
}

// A step can take another recipe than its job's, but never another plan: its nodes are chosen already.
void prepare_step(const Choices& choices, const stint_client_request& request) {
  const std::string job_plan = environment(contract::kPlanEnv).value_or("");
  if (choices.plan.given && !choices.plan.text.empty() && choices.plan.text != job_plan) {
    fail(
        "--training-plan: job {} has its nodes already; give the plan to sbatch, salloc or a srun outside a "
        "job",
        environment(kJobIdEnv).value_or("?"));
  }
  if (!choices.recipe.given || choices.recipe.text.empty()) return;
  const Config config = load_config(request.config_path ? request.config_path : "");
  set_environment(contract::kRecipeEnv, resolve(choices.recipe.text, config).text);
}

void prepare(const stint_client_request& request, const stint_client_host& host) {
  const Choices choices = choose(request);
  if (request.step) return prepare_step(choices, request);
  check_clusters(choices, request);
  prepare_job(choices, request, host);
}

}  // namespace
}  // namespace stint::spank

extern "C" int stint_client_prepare(const stint_client_request* request, const stint_client_host* host) {
  try {
    stint::spank::prepare(*request, *host);
    return 0;
  } catch (const std::exception& error) {
    host->error(error.what());
  } catch (...) {
    host->error("unknown failure in the client half");
  }
  return -1;
}
