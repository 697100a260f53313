// SPDX-License-Identifier: Apache-2.0
#include "reservations/plan_change_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "reservations/plan_view.h"
#include "reservations/service_call.h"
#include "reservations/tags.h"

namespace stint::reservations {
namespace {

using nlohmann::json;
using std::chrono::seconds;

struct Options {
  std::string config;
  std::string format = "table";
  std::string name;
  std::string by;
  std::string until;
  int nodes = 0;
  int spares = -1;
  std::string offer;
  std::vector<std::string> add;
  std::vector<std::string> remove;
  std::vector<std::string> add_accounts;
  std::vector<std::string> remove_accounts;
  std::string to;
  std::vector<std::string> tags;
  bool force = false;
  bool yes = false;
};

json post(const Options& options, const std::string& deed, const json& body) {
  return call_service(options.config, "POST", plan_path(options.name) + "/" + deed, body);
}

void print(const Options& options, const json& answer, std::string (*as_text)(const json&) = plan_text) {
  std::cout << (options.format == "json" ? answer.dump(2) + "\n" : as_text(answer));
}

template <typename Parse>
std::int64_t option_value(const Options& options, const char* option, const std::string& text,
                          const Parse& parse) {
  try {
    return parse(text);
  } catch (const Error& error) {
    fail("plan {}: --{}: {}", options.name, option, error.what());
  }
}

std::int64_t until_of(const Options& options) {
  return option_value(options, "until", options.until, [](const std::string& text) {
    const auto now = std::chrono::floor<seconds>(std::chrono::system_clock::now());
    return parse_time(text, now).time_since_epoch().count();
  });
}

void add_size(json& body, const Options& options) {
  if (options.nodes > 0) body["nodes"] = options.nodes;
  if (options.spares >= 0) body["spares"] = options.spares;
}

// Offers first, then the one that is taken: the first one with --yes or when the terminal's user says so.
void extend(const Options& options) {
  json body = json::object();
  add_size(body, options);
  if (!options.by.empty()) {
    body["duration"] = option_value(options, "by", options.by, [](const std::string& text) {
      const auto more = parse_duration(text);
      if (more < std::chrono::minutes{1}) fail("'{}' is less than a minute", text);
      return more.count();
    });
  }
  if (!options.until.empty()) body["until"] = until_of(options);
  if (!options.offer.empty()) body["offer"] = options.offer;
  if (body.empty()) fail("plan {}: give --by, --until, --nodes, --spares or --offer", options.name);
  json answer = post(options, "extend", body);
  if (!options.offer.empty()) return print(options, answer);
  const auto& offers = answer.at("offers");
  if (offers.empty()) {
    fail("plan {}: {}; what would work: {}", options.name, answer.at("reason").get<std::string>(),
         answer.at("remedy").get<std::string>());
  }
  if (!options.yes) print(options, answer, extensions_text);
  const auto first = offers.front().at("id").get<std::string>();
  if (options.yes || (somebody_to_ask() && confirmed(fmt::format("Take {}?", first))))
    return print(options, post(options, "extend", {{"offer", first}}));
  if (options.format == "table")
    std::cout << fmt::format("take one: stint plan extend {} --offer {}\n", options.name, first);
}

void shrink(const Options& options) {
  json body = json::object();
  add_size(body, options);
  if (!options.until.empty()) body["until"] = until_of(options);
  if (body.empty()) fail("plan {}: give --until, --nodes or --spares", options.name);
  if (!options.yes && somebody_to_ask()) {
    body["quote"] = true;
    print(options, post(options, "shrink", body));
    if (!confirmed("Shrink it to this?")) fail("plan {}: not changed", options.name);
    body.erase("quote");
  }
  print(options, post(options, "shrink", body));
}

void share(const Options& options) {
  json body = json::object();
  if (!options.add.empty()) body["add"] = options.add;
  if (!options.remove.empty()) body["remove"] = options.remove;
  if (!options.add_accounts.empty()) body["add_accounts"] = options.add_accounts;
  if (!options.remove_accounts.empty()) body["remove_accounts"] = options.remove_accounts;
  if (body.empty()) fail("plan {}: give --add, --remove, --add-accounts or --remove-accounts", options.name);
  print(options, post(options, "share", body));
}

void transfer(const Options& options) {
  print(options, post(options, "transfer", {{"to", options.to}}));
}

void tag(const Options& options) {
  json body = json::object();
  if (!options.tags.empty()) body["set"] = parse_tags("plan " + options.name, options.tags);
  if (!options.remove.empty()) body["remove"] = options.remove;
  if (body.empty()) fail("plan {}: give key=value or --remove key", options.name);
  print(options, post(options, "tags", body));
}

void cancel(const Options& options) {
  const auto end = [&](const json& body) {
    return call_service(options.config, "DELETE", plan_path(options.name), body);
  };
  json body = json::object();
  if (options.force) body["force"] = true;
  if (!options.yes && somebody_to_ask()) {
    auto quote = body;
    quote["quote"] = true;
    print(options, end(quote));
    if (!confirmed(options.force ? "End it and its jobs?" : "End it?"))
      fail("plan {}: not cancelled", options.name);
  }
  print(options, end(body));
}

void approve(const Options& options) {
  print(options, post(options, "approve", json::object()));
}

CLI::App& add_subcommand(CLI::App& group, const std::shared_ptr<Options>& options, const std::string& name,
                         const std::string& help, void (*work)(const Options&)) {
  auto* command = group.add_subcommand(name, help);
  command->add_option("NAME", options->name, "the plan")->required();
  command->add_option("--config", options->config, "stint.conf to read");
  command->add_option("--format", options->format, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  command->callback([options, work] { work(*options); });
  return *command;
}

void add_size_options(CLI::App& command, const std::shared_ptr<Options>& options) {
  command.add_option("--until", options->until, "its new end: 18:00, friday 18:00 or 2026-11-23T18:00");
  command.add_option("--nodes", options->nodes, "altogether")->check(CLI::Range(1, 65'536));
  command.add_option("--spares", options->spares, "altogether")->check(CLI::Range(0, 65'535));
  command.add_flag("--yes", options->yes, "do not ask");
}

}  // namespace

void add_plan_change_commands(CLI::App& group) {
  const auto options = std::make_shared<Options>();
  auto& longer = add_subcommand(group, options, "extend",
                                "Give a plan more time or nodes; running jobs are not touched", extend);
  longer.add_option("--by,--duration", options->by, "so much longer: 90m, 12h, 2d or Slurm's d-hh:mm:ss");
  add_size_options(longer, options);
  auto* offer = longer.add_option("--offer", options->offer, "take this offer of an earlier 'extend'");
  for (const char* own : {"--by", "--until", "--nodes", "--spares"}) offer->excludes(longer.get_option(own));
  auto& less =
      add_subcommand(group, options, "shrink", "Give time or nodes back; nodes of running jobs stay", shrink);
  add_size_options(less, options);
  auto& with = add_subcommand(group, options, "share", "Say who may use a plan beside its owner", share);
  with.add_option("--add", options->add, "users who may use it")->delimiter(',');
  with.add_option("--remove", options->remove, "users who may not any more")->delimiter(',');
  with.add_option("--add-accounts", options->add_accounts,
                  "accounts whose members may use it, whoever they are at the time")
      ->delimiter(',');
  with.add_option("--remove-accounts", options->remove_accounts, "accounts whose members may not any more")
      ->delimiter(',');
  auto& tags =
      add_subcommand(group, options, "tag", "Write tags on a plan, to find it and report by it", tag);
  tags.add_option("TAGS", options->tags, "key=value, any number of them");
  tags.add_option("--remove", options->remove, "keys of tags that go")
      ->delimiter(',')
      ->allow_extra_args(false);
  add_subcommand(group, options, "transfer", "Give a plan to another owner", transfer)
      .add_option("USER", options->to, "the new owner")
      ->required();
  auto& end = add_subcommand(group, options, "cancel", "End a plan and give its nodes back", cancel);
  end.add_flag("--force", options->force, "end the jobs in it first");
  end.add_flag("--yes", options->yes, "do not ask");
  add_subcommand(group, options, "approve", "Let a plan be used that waits for approval", approve);
}

}  // namespace stint::reservations
