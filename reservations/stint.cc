// SPDX-License-Identifier: Apache-2.0
// stint: the user's program. Exit status 0: done; 1: refused or failed; 2: wrong usage.
#include <CLI/CLI.hpp>
#include <iostream>

#include "base/error.h"
#include "reservations/plan_command.h"
#ifdef STINT_WITH_RECIPES
#include "recipes/command.h"
#endif
#ifdef STINT_WITH_RUN
#include "reservations/run_command.h"
#endif

namespace {

constexpr int kRefused = 1;
constexpr int kUsage = 2;

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Training plans, recipes and runs on Slurm."};
  app.set_version_flag("--version", STINT_VERSION);
  app.require_subcommand(1);
  app.failure_message([](const CLI::App*, const CLI::Error& error) {
    return std::string("stint: ") + error.what() + "; see 'stint --help'\n";
  });
  stint::reservations::add_plan_command(app);
#ifdef STINT_WITH_RECIPES
  stint::recipes::add_recipe_command(app);
#endif
#ifdef STINT_WITH_RUN
  stint::reservations::add_run_command(app);
#endif
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  } catch (const std::exception& error) {
    std::cerr << "stint: " << error.what() << "\n";
    return kRefused;
  }
}
