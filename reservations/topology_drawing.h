// SPDX-License-Identifier: Apache-2.0
// A run's topology.json as a drawing for people: switches, nodes, workers, and why they stand so. Pure; knows
// the file, not the trainer.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace stint::reservations {

// Lines of text. What a record lacks is left out; throws Error when it is none.
std::string draw_topology(const nlohmann::json& record);

}  // namespace stint::reservations
