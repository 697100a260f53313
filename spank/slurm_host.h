// SPDX-License-Identifier: Apache-2.0
// What a plugin takes from slurmctld and <slurm/slurm.h> does not declare; unchanged from 22.05 to 26.05.
#pragma once

#include <slurm/slurm.h>

extern "C" {
extern slurm_conf_t slurm_conf;
char* slurm_xstrdup(const char* text);
void slurm_xfree(void** item);
void slurm_info(const char* format, ...) __attribute__((format(printf, 1, 2)));
}
