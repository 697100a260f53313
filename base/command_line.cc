// SPDX-License-Identifier: Apache-2.0
#include "base/command_line.h"

#include <fmt/format.h>

#include <string_view>

namespace stint {
namespace {

void check_values(int argc, char** argv) {
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    const std::string_view word = argv[i];
    if (word.starts_with("--") && word.find('=') == word.size() - 1)
      throw CLI::ValidationError(std::string(word.substr(0, word.size() - 1)), "its value is empty");
  }
}

}  // namespace

std::optional<int> parse_command_line(CLI::App& app, int argc, char** argv) {
  app.failure_message([](const CLI::App* failed, const CLI::Error& error) {
    return fmt::format("{0}: {1}; see '{0} --help'\n", failed->get_name(), error.what());
  });
  const auto end = [&app](const CLI::Error& error) { return app.exit(error) == 0 ? 0 : kExitUsage; };
  try {
    check_values(argc, argv);
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::RequiredError& error) {
    // An unknown word often stands where the required one should.
    const auto unknown = app.remaining(true);
    if (!unknown.empty()) return end(CLI::ExtrasError(unknown));
    return end(error);
  } catch (const CLI::ParseError& error) {
    return end(error);
  }
}

}  // namespace stint
