// SPDX-License-Identifier: Apache-2.0
// A profile of a run that goes on. Who wants one leaves a request in the run directory; the agent of rank 0
// takes it; every worker leaves its part; who asked puts them together. Only files of the run's owner count.
//
//   profile/request.json          {"id": …, "steps": …}; gone once it is taken
//   profile/<id>/rank-00003.json  a rank's part: {"rank", "first_step", "steps", "clock_offset_us",
//                                 "clock_error_us", "events": [as in a Chrome trace]}
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/run_directory.h"

namespace stint {

inline constexpr std::int64_t kMostProfileSteps = 1000;

struct ProfileRequest {
  std::int64_t id = 0;  // below 2^53
  std::int64_t steps = 0;
};

// Throws Error: another one waits, or it cannot be written.
void ask_for_profile(const RunDirectory& run, const ProfileRequest& request);
// True: it had not been taken, and will not be.
bool withdraw_profile(const RunDirectory& run);
// What was asked for, once; nothing where there is nothing, nothing of sense, or a request of somebody else.
std::optional<ProfileRequest> take_profile_request(const RunDirectory& run);

std::filesystem::path profile_parts(const RunDirectory& run, std::int64_t id);  // the folder
std::filesystem::path profile_part(const RunDirectory& run, std::int64_t id, std::int64_t rank);

}  // namespace stint
