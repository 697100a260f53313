// SPDX-License-Identifier: Apache-2.0
#include "reservations/plan_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/config.h"
#include "base/error.h"
#include "base/text.h"
#include "recipes/estimate.h"
#include "recipes/recipe.h"
#include "reservations/money.h"
#include "reservations/plan.h"
#include "reservations/plan_change_command.h"
#include "reservations/plan_report.h"
#include "reservations/plan_timeline.h"
#include "reservations/plan_view.h"
#include "reservations/service_call.h"
#include "reservations/tags.h"
#include "reservations/users.h"

namespace stint::reservations {
namespace {

using nlohmann::json;
using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr char kAccountHelp[] = "that is charged (default: the owner's default account)";

struct Options {
  std::string config;
  std::string format = "table";
  std::string name;
  std::string offer;
  int nodes = 0;
  int gpus = 0;
  int spares = 0;
  std::string duration;
  std::string start = "now";
  std::string after = "now";
  std::string before;
  int segments = 1;
  std::string min_segment;
  std::string max_price;
  std::string recipe;
  std::string sort = "finish";
  int most = 5;
  int weeks = 2;
  std::string partition;
  std::vector<std::string> features;
  std::vector<std::string> users;
  std::vector<std::string> accounts;
  std::string account;
  std::vector<std::string> states;
  bool mine = false;
  bool reverse = false;
  std::string begins_after, begins_before;
  std::string list_order;
  std::vector<std::string> tags;
  bool yes = false;
};

json call(const Options& options, const std::string& method, const std::string& path, const json& body = {}) {
  return call_service(options.config, method, path, body);
}

void print(const Options& options, const json& answer, std::string (*as_text)(const json&)) {
  std::cout << (options.format == "json" ? answer.dump(2) + "\n" : as_text(answer));
}

std::string shown_text(const json& plan) {
  const auto now = std::chrono::floor<seconds>(std::chrono::system_clock::now());
  return plan_text(plan) + "\n" + timeline_text(plan, now);
}

sys_seconds now() {
  return std::chrono::floor<seconds>(std::chrono::system_clock::now());
}

// A value that cannot be read is named with its option.
template <typename Parse>
auto option_value(const std::string& subject, const char* option, const std::string& text,
                  const Parse& parse) {
  try {
    return parse(text).count();
  } catch (const Error& error) {
    fail("{}: --{}: {}", subject, option, error.what());
  }
}

std::int64_t duration_option(const std::string& subject, const char* option, const std::string& text) {
  return option_value(subject, option, text, [](const std::string& value) {
    const auto duration = parse_duration(value);
    if (duration < std::chrono::minutes{1}) fail("'{}' is less than a minute", value);
    return duration;
  });
}

std::int64_t time_option(const std::string& subject, const char* option, const std::string& text) {
  return option_value(subject, option, text,
                      [](const std::string& value) { return parse_time(value, now()).time_since_epoch(); });
}

bool mine(const json& plan) {
  const std::string me = user_of_uid(::getuid());
  const auto is_among = [&](const json& names) {
    return std::find(names.begin(), names.end(), me) != names.end();
  };
  return plan.at("owner") == me || is_among(plan.at("users")) || is_among(plan.at("members"));
}

void sort_plans(json& plans, const Options& options) {
  const auto key = [&](const json& plan) -> json {
    const auto& segments = plan.at("segments");
    if (options.list_order == "start") return segments.empty() ? json(0) : segments.front().at("start");
    if (options.list_order == "end") return segments.empty() ? json(0) : segments.back().at("end");
    return plan.at(options.list_order);
  };
  if (options.list_order != "booking")
    std::stable_sort(plans.begin(), plans.end(),
                     [&](const json& a, const json& b) { return key(a) < key(b); });
  if (options.reverse) std::reverse(plans.begin(), plans.end());
}

bool has_tags(const json& plan, const std::vector<std::string>& filters) {
  const auto tags = plan.value("tags", Tags{});
  return std::all_of(filters.begin(), filters.end(),
                     [&](const auto& filter) { return has_tag(tags, filter); });
}

void list(const Options& options) {
  for (const auto& filter : options.tags) check_tag_filter("list: --tag", filter);
  json chosen = json::array();
  std::optional<std::int64_t> after, before;
  if (!options.begins_after.empty()) after = time_option("list", "after", options.begins_after);
  if (!options.begins_before.empty()) before = time_option("list", "before", options.begins_before);
  for (auto& plan : call(options, "GET", "/v1/plans")) {
    const bool fits = options.states.empty() || std::find(options.states.begin(), options.states.end(),
                                                          plan.at("state")) != options.states.end();
    const auto start =
        plan.at("segments").empty() ? 0 : plan.at("segments").front().at("start").get<std::int64_t>();
    const bool in_time = (!after || start >= *after) && (!before || start < *before);
    if (fits && in_time && has_tags(plan, options.tags) && (!options.mine || mine(plan)))
      chosen.push_back(std::move(plan));
  }
  sort_plans(chosen, options);
  if (options.format == "ini") {
    std::cout << plans_ini(chosen);
  } else {
    print(options, chosen, plans_text);
  }
}

void add_kind(json& body, const Options& options) {
  if (!options.partition.empty()) body["partition"] = options.partition;
  if (!options.features.empty()) body["features"] = options.features;
}

// What was not asked for is the recipe's.
Options with_recipe(Options options) {
  if (options.recipe.empty()) return options;
  const Config config = load_config(options.config);
  const auto path = recipes::default_search_path(config.recipe_path);
  const auto recipe = recipes::resolve_with_origins(options.recipe, path, true).recipe;
  if (options.nodes == 0 && options.gpus == 0) options.nodes = static_cast<int>(recipe.resources.nodes);
  if (!options.duration.empty()) return options;
  if (recipe.resources.time_limit.count() > 0) {
    options.duration = format_duration(recipe.resources.time_limit);
  } else if (config.node_tflops > 0 && options.nodes > 0) {
    const auto time = recipes::run_time(recipes::estimate(recipe), options.nodes, config.node_tflops);
    options.duration = format_duration(time);
  }
  return options;
}

json search_of(const Options& asked) {
  const Options options = with_recipe(asked);
  if ((options.nodes > 0) == (options.gpus > 0)) fail("search: give either --nodes or --gpus, or a --recipe");
  if (options.duration.empty()) {
    fail("search: give --duration{}",
         options.recipe.empty()
             ? ""
             : fmt::format("; recipe {} has no resources.time_limit, and without [recipes] node_tflops in "
                           "stint.conf nobody knows how long it takes",
                           options.recipe));
  }
  json body{{"spares", options.spares},
            {"segments", options.segments},
            {"sort", options.sort},
            {"most", options.most}};
  if (options.nodes > 0) body["nodes"] = options.nodes;
  if (options.gpus > 0) body["gpus"] = options.gpus;
  add_kind(body, options);
  if (!options.account.empty()) body["account"] = options.account;
  body["duration"] = duration_option("search", "duration", options.duration);
  if (!options.min_segment.empty())
    body["min_segment"] = duration_option("search", "min-segment", options.min_segment);
  if (options.after != "now") body["after"] = time_option("search", "after", options.after);
  if (!options.before.empty()) body["before"] = time_option("search", "before", options.before);
  if (!options.max_price.empty()) {
    try {
      body["max_cents"] = parse_amount(options.max_price);
    } catch (const Error& error) {
      fail("search: --max-price: {}", error.what());
    }
  }
  return body;
}

void search(const Options& options) {
  const json answer = call(options, "POST", "/v1/offers", search_of(options));
  const bool none = answer.at("offers").empty();
  if (!none || options.format == "json") print(options, answer, offers_text);
  if (none)
    fail("search: {}; what would work: {}", answer.at("reason").get<std::string>(),
         answer.at("remedy").get<std::string>());
}

void availability(const Options& options) {
  json body{{"weeks", options.weeks}};
  add_kind(body, options);
  print(options, call(options, "POST", "/v1/availability", body),
        [](const json& answer) { return availability_text(answer, now()); });
}

json request_of(const Options& options) {
  json body{{"name", options.name}};
  if (!options.users.empty()) body["users"] = options.users;
  if (!options.accounts.empty()) body["accounts"] = options.accounts;
  if (!options.account.empty()) body["account"] = options.account;
  if (!options.tags.empty()) body["tags"] = parse_tags("plan " + options.name, options.tags);
  if (!options.offer.empty()) {
    body["offer"] = options.offer;
    return body;
  }
  if (options.nodes == 0 || options.duration.empty())
    fail("plan {}: give --nodes and --duration, or an --offer that 'stint plan search' has found",
         options.name);
  const std::string subject = "plan " + options.name;
  body["nodes"] = options.nodes;
  body["spares"] = options.spares;
  body["duration"] = duration_option(subject, "duration", options.duration);
  if (options.start != "now") body["start"] = time_option(subject, "start", options.start);
  add_kind(body, options);
  return body;
}

void create(const Options& options) {
  check_plan_name(options.name);
  json body = request_of(options);
  if (!options.yes && somebody_to_ask()) {
    body["quote"] = true;
    print(options, call(options, "POST", "/v1/plans", body), plan_text);
    if (!confirmed("Book it?")) fail("plan {}: not booked", options.name);
    body.erase("quote");
  }
  print(options, call(options, "POST", "/v1/plans", body), plan_text);
}

CLI::App& add_subcommand(CLI::App& group, const std::shared_ptr<Options>& options, const std::string& name,
                         const std::string& help, void (*work)(const Options&)) {
  auto* command = group.add_subcommand(name, help);
  command->add_option("--config", options->config, "stint.conf to read");
  command->add_option("--format", options->format, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  command->callback([options, work] { work(*options); });
  return *command;
}

void add_capacity(CLI::App& command, const std::shared_ptr<Options>& options) {
  command.add_option("--nodes", options->nodes, "nodes to train on")->check(CLI::Range(1, 65'536));
  command.add_option("--spares", options->spares, "nodes that take over when one dies; free, and kept free")
      ->check(CLI::Range(0, 65'535));
  command.add_option("--duration", options->duration, "90m, 12h, 2d or Slurm's d-hh:mm:ss");
}

void add_node_kind(CLI::App& command, const std::shared_ptr<Options>& options) {
  command.add_option("--partition", options->partition, "default: Slurm's default partition");
  command.add_option("--features", options->features, "node features, all of which are needed")
      ->delimiter(',');
}

void add_search(CLI::App& group, const std::shared_ptr<Options>& options) {
  auto& command = add_subcommand(group, options, "search",
                                 "Find offers: when so many nodes are free, for what price", search);
  add_capacity(command, options);
  command.add_option("--recipe", options->recipe,
                     "the defaults of the search: its nodes; its time limit, else its estimate");
  command.add_option("--gpus", options->gpus, "GPUs instead of nodes: as many nodes as hold them")
      ->check(CLI::Range(1, 1'000'000));
  command.add_option("--after", options->after, "now, now+2h, 18:00, friday 18:00 or 2026-11-23T18:00")
      ->capture_default_str();
  command.add_option("--before", options->before, "all must be over by then (default: eight weeks on)");
  command
      .add_option("--segments", options->segments,
                  "split into at most so many blocks of time; what needs no split comes first")
      ->check(CLI::Range(1, 32))
      ->capture_default_str();
  command.add_option("--min-segment", options->min_segment, "no block shorter than this (default: 1h)");
  command.add_option("--max-price", options->max_price, "of the whole plan: 250 or 249.50");
  command
      .add_option("--sort", options->sort,
                  "finish (those that are best in something first), price or switches; blocks before splits")
      ->check(CLI::IsMember({"finish", "price", "switches"}))
      ->capture_default_str();
  command.add_option("--account", options->account, kAccountHelp);
  command.add_option("--most", options->most, "offers")->check(CLI::Range(1, 50))->capture_default_str();
  add_node_kind(command, options);
}

void add_list(CLI::App& group, const std::shared_ptr<Options>& options) {
  auto& command =
      add_subcommand(group, options, "list", "List plans, also those that ended in the last week", list);
  command.remove_option(command.get_option("--format"));
  command.add_option("--format", options->format, "table, json or ini")
      ->check(CLI::IsMember({"table", "json", "ini"}))
      ->capture_default_str();
  command.add_option("--state", options->states, "only these: pending, scheduled, active, expired, …")
      ->delimiter(',')
      ->check(CLI::IsMember({"booking", "pending", "scheduled", "active", "expired", "failed", "cancelled"}));
  command.add_flag("--mine", options->mine, "only those that you own or may use");
  command.add_option("--after", options->begins_after, "only those that begin then or later");
  command.add_option("--before", options->begins_before, "only those that begin sooner");
  command
      .add_option("--tag", options->tags, "only those with this tag: key or key=value; may be given again")
      ->allow_extra_args(false);
  command.add_option("--sort", options->list_order, "booking, name, start, end or state")
      ->check(CLI::IsMember({"booking", "name", "start", "end", "state"}))
      ->default_val("booking");
  command.add_flag("--reverse", options->reverse, "the other way round");
}

void add_availability(CLI::App& group, const std::shared_ptr<Options>& options) {
  auto& command =
      add_subcommand(group, options, "availability", "Draw how many nodes are free when", availability);
  command.add_option("--weeks", options->weeks, "how far to look")
      ->check(CLI::Range(1, 52))
      ->capture_default_str();
  add_node_kind(command, options);
}

void add_create(CLI::App& group, const std::shared_ptr<Options>& options) {
  auto& command =
      add_subcommand(group, options, "create", "Book a plan: nodes for a time at a fixed price", create);
  command.add_option("--name", options->name, "its name")->required();
  add_capacity(command, options);
  command.add_option("--start", options->start, "now, now+2h, 18:00, friday 18:00 or 2026-11-23T18:00")
      ->capture_default_str();
  add_node_kind(command, options);
  auto* offer = command.add_option("--offer", options->offer, "an offer that 'stint plan search' has found");
  for (const char* own : {"--nodes", "--spares", "--duration", "--start", "--partition", "--features"})
    offer->excludes(command.get_option(own));
  command.add_option("--users", options->users, "who may submit (default: you); the first one owns the plan")
      ->delimiter(',');
  command
      .add_option("--accounts", options->accounts,
                  "whose members may submit too, whoever they are at the time; yours, an operator's: any")
      ->delimiter(',');
  command.add_option("--account", options->account, kAccountHelp);
  command.add_option("--tag", options->tags, "key=value, to find it and report by it; may be given again")
      ->allow_extra_args(false);
  command.add_flag("--yes", options->yes, "do not ask before booking");
}

}  // namespace

CLI::App& add_plan_command(CLI::App& app) {
  auto* group = app.add_subcommand("plan", "Training plans: search, book, list, show, cancel");
  group->require_subcommand(1);
  const auto options = std::make_shared<Options>();
  add_search(*group, options);
  add_availability(*group, options);
  add_create(*group, options);
  add_list(*group, options);
  auto& show_command = add_subcommand(*group, options, "show", "Show one plan", [](const Options& chosen) {
    print(chosen, call(chosen, "GET", plan_path(chosen.name)), shown_text);
  });
  show_command.add_option("NAME", options->name, "the plan")->required();
  auto& history_command =
      add_subcommand(*group, options, "history", "Who did what to a plan, when", [](const Options& chosen) {
        print(chosen, call(chosen, "GET", plan_path(chosen.name) + "/history"), history_text);
      });
  history_command.add_option("NAME", options->name, "the plan")->required();
  add_plan_change_commands(*group);
  add_report_command(*group);
  return *group;
}

}  // namespace stint::reservations
