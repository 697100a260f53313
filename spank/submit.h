// SPDX-License-Identifier: Apache-2.0
// The submitting clients (sbatch, salloc, srun). Costs nothing unless one of our options is in play; then
// opens the client half, which stands beside this plugin, and lets it do the work.
#pragma once

#include <slurm/spank.h>

enum stint_client { STINT_SRUN, STINT_ALLOCATOR };

// Returns 0, or does not return: on an error it ends the client with status 1 before anything was sent.
int stint_submit(spank_t spank, int ac, char** argv, enum stint_client client);
