// SPDX-License-Identifier: Apache-2.0
// The options --training-plan and --recipe: one table, and what the user said of each. The last value wins.
// A value that came from the surrounding job's environment (a step, a nested sbatch) is kept apart from one
// that was typed, because only a typed one may replace what that job carries. One thread; process-wide.
#pragma once

#include <slurm/spank.h>

enum stint_option { STINT_OPTION_PLAN, STINT_OPTION_RECIPE, STINT_OPTION_COUNT };

struct stint_value {
  char* given;      // command line or #SBATCH line; NULL: not given
  char* inherited;  // from the job around us; NULL: none
};

int stint_register_options(spank_t spank);
const struct stint_value* stint_option_value(enum stint_option option);
