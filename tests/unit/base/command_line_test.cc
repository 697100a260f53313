// SPDX-License-Identifier: Apache-2.0
#include "base/command_line.h"

#include <gmock/gmock.h>

namespace stint {
namespace {

using testing::internal::CaptureStderr;
using testing::internal::GetCapturedStderr;

// The status, and what is told of wrong usage, of `prog` with a subcommand `book` that needs --name.
std::pair<std::optional<int>, std::string> parse(std::vector<std::string> words) {
  CLI::App app{"A program.", "prog"};
  app.require_subcommand(1);
  std::string name, users;
  auto* book = app.add_subcommand("book");
  book->add_option("--name", name)->required();
  book->add_option("--users", users);
  words.insert(words.begin(), "prog");
  std::vector<char*> arguments;
  for (auto& word : words) arguments.push_back(word.data());
  CaptureStderr();
  const auto status = parse_command_line(app, static_cast<int>(arguments.size()), arguments.data());
  return {status, GetCapturedStderr()};
}

void expect_wrong(const std::vector<std::string>& words, const std::string& told) {
  const auto [status, text] = parse(words);
  EXPECT_EQ(status, kExitUsage) << told;
  EXPECT_EQ(text, "prog: " + told + "; see 'prog --help'\n");
}

TEST(CommandLine, GoesOnWhenAllIsRight) {
  EXPECT_EQ(parse({"book", "--name", "a"}).first, std::nullopt);
  EXPECT_EQ(parse({"book", "--name=a=b", "--users", ""}).first, std::nullopt);
}

TEST(CommandLine, AnEmptyValueDoesNotSwallowTheNextArgument) {
  expect_wrong({"book", "--users=", "--name", "a"}, "--users: its value is empty");
  expect_wrong({"book", "--name="}, "--name: its value is empty");
}

TEST(CommandLine, TheUnknownWordIsNamedBeforeTheMissingOne) {
  expect_wrong({"bok"}, "The following argument was not expected: bok; did you mean 'book'?");
  expect_wrong({"book", "--nam=a"},
               "The following argument was not expected: --nam=a; did you mean '--name'?");
  expect_wrong({"book", "--name", "a", "--to", "b"}, "The following arguments were not expected: --to b");
  expect_wrong({"book"}, "--name is required");
}

}  // namespace
}  // namespace stint
