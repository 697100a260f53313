// SPDX-License-Identifier: Apache-2.0
// How the commands speak to stintd and to the person at the terminal.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace stint::reservations {

// "/v1/plans/NAME"; throws Error where that cannot be a plan's name.
std::string plan_path(const std::string& name);

// What stintd answers; throws Error with its explanation. Offers that it names instead are printed first.
// `config`: stint.conf; empty: the usual one.
nlohmann::json call_service(const std::string& config, const std::string& method, const std::string& path,
                            const nlohmann::json& body = {});

// Input and output are a terminal.
bool somebody_to_ask();
// Asks; anything but y and yes is no.
bool confirmed(const std::string& question);

}  // namespace stint::reservations
