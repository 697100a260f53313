// SPDX-License-Identifier: Apache-2.0
#include "spank/options.h"

#include <stdlib.h>
#include <string.h>

static struct stint_value values[STINT_OPTION_COUNT];

// Where Slurm keeps an option's value inside a job; it reads them between #SBATCH lines and the command line.
static const char* const inherited_names[STINT_OPTION_COUNT] = {
    [STINT_OPTION_PLAN] = "SLURM_SPANK__SLURM_SPANK_OPTION_stint_training_plan",
    [STINT_OPTION_RECIPE] = "SLURM_SPANK__SLURM_SPANK_OPTION_stint_recipe",
};

static int take_value(int option, const char* text, int remote);

static char plan_name[] = "training-plan";
static char plan_argument[] = "NAME";
static char plan_usage[] =
    "run in this training plan (see 'stint plan list'); 'none' leaves an inherited one";
static char recipe_name[] = "recipe";
static char recipe_argument[] = "NAME|PATH.ini[,section.key=value...]";
static char recipe_usage[] =
    "training recipe (see 'stint recipe list'), frozen at submit; gives nodes, GRES and time limit";

static struct spank_option options[STINT_OPTION_COUNT] = {
    {plan_name, plan_argument, plan_usage, 1, STINT_OPTION_PLAN, take_value},
    {recipe_name, recipe_argument, recipe_usage, 1, STINT_OPTION_RECIPE, take_value},
};

static int keep(char** slot, const char* text) {
  char* copy = strdup(text);
  if (!copy) return -1;
  free(*slot);
  *slot = copy;
  return 0;
}

// Slurm calls this once for each occurrence. For the inherited value it passes the very string of the
// environment: the only thing that tells it from the same text typed by the user. What is wrong with a value
// is said at submit, of the last one only: a command line may correct a script.
static int take_value(int option, const char* text, int remote) {
  if (remote || option < 0 || option >= STINT_OPTION_COUNT) return 0;
  if (text && text == getenv(inherited_names[option])) {
    return *text ? keep(&values[option].inherited, text) : 0;
  }
  return keep(&values[option].given, text ? text : "");
}

int stint_register_options(spank_t spank) {
  for (int i = 0; i < STINT_OPTION_COUNT; ++i) {
    if (spank_option_register(spank, &options[i]) != ESPANK_SUCCESS) {
      slurm_error("stint: cannot register --%s", options[i].name);
      return -1;
    }
  }
  return 0;
}

const struct stint_value* stint_option_value(enum stint_option option) {
  return &values[option];
}
