// SPDX-License-Identifier: Apache-2.0
// `stint recipe list|show|validate`: a group of the program stint. Prints to stdout; wrong recipes are an
// Error.
#pragma once

namespace CLI {
class App;
}

namespace stint::recipes {

// Adds the group to the program; its work is done in CLI11 callbacks, which throw stint::Error.
void add_recipe_command(CLI::App& program);

}  // namespace stint::recipes
