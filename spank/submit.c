// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "spank/submit.h"

#include <dlfcn.h>
#include <limits.h>
#include <slurm/slurm.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spank/client.h"
#include "spank/options.h"

extern slurm_conf_t slurm_conf;  // of the client, which <slurm/slurm.h> does not declare

static const char kClientHalf[] = "stint_spank_client.so";

static int control_set(void* spank, const char* name, const char* value) {
  return spank_job_control_setenv(spank, name, value, 1) == ESPANK_SUCCESS ? 0 : -1;
}

static void control_unset(void* spank, const char* name) {
  spank_job_control_unsetenv(spank, name);
}

static void report_error(const char* line) {
  slurm_error("stint: %s", line);
}

static void report_note(const char* line) {
  slurm_info("stint: %s", line);
}

static bool in_use(const struct stint_value* value) {
  return value->given || value->inherited;
}

// The value of conf=, NULL without one. Returns false after reporting an argument that is not ours.
static bool read_arguments(int ac, char** argv, const char** config_path) {
  *config_path = NULL;
  for (int i = 0; i < ac; ++i) {
    if (strncmp(argv[i], "conf=", 5) != 0 || !argv[i][5]) {
      slurm_error("stint: plugstack.conf: unknown argument '%s'; the only one is conf=PATH", argv[i]);
      return false;
    }
    *config_path = argv[i] + 5;
  }
  return true;
}

// "<folder of this plugin>/stint_spank_client.so"; false where the loader cannot say or the path is too long.
static bool client_half_path(char* path, size_t size) {
  static const char anchor;
  Dl_info self;
  if (!dladdr(&anchor, &self) || !self.dli_fname) return false;
  const char* slash = strrchr(self.dli_fname, '/');
  int folder = slash ? (int)(slash - self.dli_fname) : 0;
  int length = slash ? snprintf(path, size, "%.*s/%s", folder, self.dli_fname, kClientHalf)
                     : snprintf(path, size, "./%s", kClientHalf);
  return length > 0 && (size_t)length < size;
}

static stint_client_prepare_f* open_client_half(void) {
  char path[PATH_MAX];
  if (!client_half_path(path, sizeof path)) {
    slurm_error("stint: cannot find the folder of spank_stint.so; give its full path in plugstack.conf");
    return NULL;
  }
  // Stays open: the process ends soon, and C++ code is better not unloaded.
  void* half = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  void* symbol = half ? dlsym(half, STINT_CLIENT_PREPARE) : NULL;
  if (!symbol) {
    slurm_error("stint: cannot open the client half: %s; install it beside spank_stint.so", dlerror());
    return NULL;
  }
  stint_client_prepare_f* prepare;
  memcpy(&prepare, &symbol, sizeof prepare);  // ISO C has no cast from object to function pointer
  return prepare;
}

// The client's own table of options knows --clusters from the command line, a script and the environment
// alike. NULL: not given, or a client that keeps its options elsewhere.
static const char* chosen_clusters(void) {
  typedef char* option_get_f(void* options, const char* name);
  void* options = dlsym(RTLD_DEFAULT, "opt");
  void* symbol = dlsym(RTLD_DEFAULT, "slurm_option_get");
  if (!options || !symbol) return NULL;
  option_get_f* option_get;
  memcpy(&option_get, &symbol, sizeof option_get);
  return option_get(options, "clusters");
}

static int prepare(spank_t spank, int ac, char** argv, bool step) {
  const struct stint_value* plan = stint_option_value(STINT_OPTION_PLAN);
  const struct stint_value* recipe = stint_option_value(STINT_OPTION_RECIPE);
  struct stint_client_request request = {
      .plan_given = plan->given,
      .plan_inherited = plan->inherited,
      .recipe_given = recipe->given,
      .recipe_inherited = recipe->inherited,
      .clusters = chosen_clusters(),
      .own_cluster = slurm_conf.cluster_name,
      .step = step,
  };
  const struct stint_client_host host = {spank, control_set, control_unset, report_error, report_note};
  if (!read_arguments(ac, argv, &request.config_path)) return -1;
  stint_client_prepare_f* client_prepare = open_client_half();
  return client_prepare ? client_prepare(&request, &host) : -1;
}

int stint_submit(spank_t spank, int ac, char** argv, enum stint_client client) {
  const struct stint_value* plan = stint_option_value(STINT_OPTION_PLAN);
  const struct stint_value* recipe = stint_option_value(STINT_OPTION_RECIPE);
  if (!in_use(plan) && !in_use(recipe)) return 0;
  bool step = client == STINT_SRUN && getenv("SLURM_JOB_ID");
  if (step && !plan->given && !recipe->given) return 0;  // the job carries all that its steps need
  if (prepare(spank, ac, argv, step) == 0) return 0;
  // Slurm heeds a hook's error only for a `required` plugin, and required stops every client and slurmd that
  // lacks the file. Nothing has been sent yet, so leaving here is the one way that never queues a bad job.
  exit(EXIT_FAILURE);
}
