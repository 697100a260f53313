// SPDX-License-Identifier: Apache-2.0
// stint: the user's program. Exit status 0: done; 1: refused or failed; 2: wrong usage.
#include <cstdio>
#include <iostream>

#include "base/command_line.h"
#include "base/error.h"
#include "recipes/command.h"
#include "reservations/doctor_command.h"
#include "reservations/plan_command.h"
#include "reservations/run_command.h"

namespace {

constexpr int kRefused = 1;

// What a full disk or a closed pipe swallowed was not told.
void finish_output() {
  std::cout.flush();
  if (!std::cout || std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
    stint::fail("the output cannot be written; is the disk full?");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Training plans, recipes and runs on Slurm.", "stint"};
  app.set_version_flag("--version", STINT_VERSION);
  app.require_subcommand(1);
  stint::reservations::add_plan_command(app);
  stint::recipes::add_recipe_command(app);
  stint::reservations::add_run_command(app);
  stint::reservations::add_doctor_command(app);
  try {
    const auto ended = stint::parse_command_line(app, argc, argv);
    finish_output();
    return ended.value_or(0);
  } catch (const std::exception& error) {
    std::cerr << "stint: " << error.what() << "\n";
    return kRefused;
  }
}
