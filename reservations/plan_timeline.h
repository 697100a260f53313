// SPDX-License-Identifier: Apache-2.0
// A plan's segments on a line of time, for the terminal.
#pragma once

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace stint::reservations {

// From the first start to the last end, with now beneath, where it lies in between:
//
//   ██████████░░░░░░····················░░░░░░░░░░░░
//             ^ 2026-11-23T14:05:00
//
// █ gone, ░ to come, · no time of the plan's; a segment has at least one column. `plan` as GET /plans/NAME
// answers.
std::string timeline_text(const nlohmann::json& plan, std::chrono::sys_seconds now);

}  // namespace stint::reservations
