// SPDX-License-Identifier: Apache-2.0
// What spank_stint.so (C, always loaded) and stint_spank_client.so (C++, opened on demand) agree on.
// The client half knows nothing of SPANK: it reaches the job through the host's functions.
#pragma once

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STINT_CLIENT_PREPARE "stint_client_prepare"

// Texts may be NULL. "given" was typed, "inherited" comes from the job around the client.
struct stint_client_request {
  const char* plan_given;
  const char* plan_inherited;
  const char* recipe_given;
  const char* recipe_inherited;
  const char* config_path;  // stint.conf; NULL: $STINT_CONF or the default
  const char* clusters;     // --clusters, from wherever the client took it
  const char* own_cluster;  // ClusterName of slurm.conf
  bool step;                // srun inside a job: a step, no new job
};

struct stint_client_host {
  void* context;
  int (*control_set)(void* context, const char* name, const char* value);  // job control environment; 0: done
  void (*control_unset)(void* context, const char* name);
  void (*error)(const char* line);  // one line, without the leading "stint: "
  void (*note)(const char* line);
};

// Sets the job's environment (base/contract.h) in this process and its control environment through the host.
// 0: go on and submit. Else the error has been reported and nothing must be submitted. Throws nothing.
typedef int stint_client_prepare_f(const struct stint_client_request* request,
                                   const struct stint_client_host* host);

__attribute__((visibility("default"))) stint_client_prepare_f stint_client_prepare;

#ifdef __cplusplus
}
#endif
