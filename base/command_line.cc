// SPDX-License-Identifier: Apache-2.0
#include "base/command_line.h"

#include <fmt/format.h>

#include <string_view>

#include "base/ini.h"

namespace stint {
namespace {

void check_values(int argc, char** argv) {
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    const std::string_view word = argv[i];
    if (word.starts_with("--") && word.find('=') == word.size() - 1)
      throw CLI::ValidationError(std::string(word.substr(0, word.size() - 1)), "its value is empty");
  }
}

const CLI::App& innermost(const CLI::App& app) {
  const auto parsed = app.get_subcommands();
  return parsed.empty() ? app : innermost(*parsed.front());
}

// What the word could have been, at the place where it stands.
std::string suggestion(const CLI::App& command, const std::string& word) {
  std::vector<std::string> known;
  for (const auto* option : command.get_options()) {
    for (const auto& name : option->get_lnames()) known.push_back("--" + name);
  }
  for (const auto* sub : command.get_subcommands([](const CLI::App*) { return true; }))
    known.push_back(sub->get_name());
  const auto close = did_you_mean(word.substr(0, word.find('=')), known);
  return close.empty() ? std::string() : fmt::format("; did you mean '{}'?", close);
}

CLI::ExtrasError unexpected(const CLI::App& app, const std::vector<std::string>& words) {
  return {fmt::format("The following argument{} not expected: {}{}", words.size() == 1 ? " was" : "s were",
                      fmt::join(words, " "), suggestion(innermost(app), words.front())),
          CLI::ExitCodes::ExtrasError};
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
    return unknown.empty() ? end(error) : end(unexpected(app, unknown));
  } catch (const CLI::ExtrasError&) {
    return end(unexpected(app, app.remaining(true)));
  } catch (const CLI::ParseError& error) {
    return end(error);
  }
}

}  // namespace stint
