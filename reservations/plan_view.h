// SPDX-License-Identifier: Apache-2.0
// stintd's answers as text for people. Pure: JSON as api.h describes it in, text with line ends out; times
// are local.
#pragma once

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace stint::reservations {

// "4+1", "4+0 (1 lost)": promised nodes that are there, spares that are there, in the first segment.
std::string capacity_text(const nlohmann::json& plan);

std::string plan_text(const nlohmann::json& plan);
std::string plans_text(const nlohmann::json& plans);
// The same as INI: a section for each plan and each segment.
std::string plans_ini(const nlohmann::json& plans);
// What an extension could be: the answer of POST /v1/plans/NAME/extend.
std::string extensions_text(const nlohmann::json& answer);
std::string history_text(const nlohmann::json& entries);
// The offers as a table, or why there are none and what would work.
std::string offers_text(const nlohmann::json& answer);
// One line a day, one column each half-hour: how many of the nodes are free at least.
std::string availability_text(const nlohmann::json& availability, std::chrono::sys_seconds now);

}  // namespace stint::reservations
