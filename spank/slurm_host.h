// SPDX-License-Identifier: Apache-2.0
// What a plugin takes from slurmctld and <slurm/slurm.h> does not declare; unchanged from 22.05 to 26.05.
#pragma once

#include <slurm/slurm.h>
#include <sys/types.h>

#include <cstdint>

extern "C" {
extern slurm_conf_t slurm_conf;
char* slurm_xstrdup(const char* text);
void slurm_xfree(void** item);
void slurm_info(const char* format, ...) __attribute__((format(printf, 1, 2)));
// slurmctld's own: root, SlurmUser, or AdminLevel Operator and above. It asks the cache of slurmdbd's users.
// Weak: other hosts have none.
bool validate_operator(uid_t uid) __attribute__((weak));
}

namespace stint::spank {

// How slurmctld's record of a job begins.
struct JobRecordHead {
  std::uint32_t magic;
  char* account;
  char* admin_comment;
};
inline constexpr std::uint32_t kJobMagic = 0xf0b7392c;

}  // namespace stint::spank
