// SPDX-License-Identifier: Apache-2.0
// What a job says to slurmctld through its SPANK environment. The entries come from the user's machine and
// can hold anything: every one is bounded and checked before it is believed. No Slurm types.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace stint::spank {

struct JobEnvironment {
  std::string plan;    // --training-plan; empty: none, or opted out
  std::string recipe;  // name@hash; empty: none
  std::optional<std::uint32_t> nodes;
  std::string gres;  // per node, Slurm's form
  std::optional<std::chrono::minutes> time_limit;

  bool ours() const { return !plan.empty() || !recipe.empty(); }
};

// `entries` are `count` strings "NAME=value"; null ones are skipped; a name may bear a leading "SPANK_".
// Of a name given twice the last holds. Throws Error that names the option or variable that is wrong.
JobEnvironment parse_job_environment(const char* const* entries, std::uint32_t count);

// True when one of the entries is "name=…".
bool has_variable(const char* const* entries, std::uint32_t count, const std::string& name);

}  // namespace stint::spank
