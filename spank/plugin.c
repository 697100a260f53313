// SPDX-License-Identifier: Apache-2.0
// spank_stint.so: the whole SPANK ABI of the project. One switch a hook, one file a context:
//   options.c   every context   the two options and what the user said
//   submit.c    sbatch, salloc, srun   hands a job that uses them to the client half (client.cc)
// slurmd, slurmstepd and prolog contexts only learn the options' names, and always succeed: an error there
// would drain nodes. Pure C and next to nothing: this object is loaded by every client and every step.
// Argument in plugstack.conf: conf=PATH, the stint.conf to use instead of $STINT_CONF or the default.
#include <slurm/spank.h>

#include "spank/options.h"
#include "spank/submit.h"

#define STINT_ABI __attribute__((visibility("default")))

extern const char plugin_name[] STINT_ABI;
extern const char plugin_type[] STINT_ABI;
extern const unsigned int plugin_version STINT_ABI;
extern const unsigned int spank_plugin_version STINT_ABI;
SPANK_PLUGIN(stint, 1)

STINT_ABI int slurm_spank_init(spank_t spank, int ac, char* argv[]) {
  (void)ac;
  (void)argv;
  switch (spank_context()) {
    case S_CTX_LOCAL:
    case S_CTX_ALLOCATOR:
      return stint_register_options(spank);
    case S_CTX_REMOTE:
      stint_register_options(spank);
      return 0;
    default:
      return 0;
  }
}

STINT_ABI int slurm_spank_init_post_opt(spank_t spank, int ac, char* argv[]) {
  switch (spank_context()) {
    case S_CTX_LOCAL:
      return stint_submit(spank, ac, argv, STINT_SRUN);
    case S_CTX_ALLOCATOR:
      return stint_submit(spank, ac, argv, STINT_ALLOCATOR);
    default:
      return 0;
  }
}
