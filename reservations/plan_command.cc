// SPDX-License-Identifier: Apache-2.0
#include "reservations/plan_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "base/config.h"
#include "base/error.h"
#include "base/http.h"
#include "base/text.h"
#include "reservations/api.h"

namespace stint::reservations {
namespace {

using nlohmann::json;
using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr std::chrono::seconds kTimeout{60};

struct Options {
  std::string config;
  std::string format = "table";
  std::string name;
  int nodes = 0;
  int spares = 0;
  std::string duration;
  std::string start = "now";
  std::string partition;
  std::vector<std::string> users;
  bool yes = false;
  bool force = false;
};

// Only plain names go into a path.
std::string plan_path(const std::string& name) {
  if (!valid_name(name)) fail("plan: '{}' is no plan name; see 'stint plan list'", name.substr(0, 80));
  return "/v1/plans/" + name;
}

json call(const Options& options, const std::string& method, const std::string& path, const json& body = {}) {
  const Config config = load_config(options.config);
  const HttpClient client(config.address, Munge(config.munge_socket), config.server_uids, kTimeout);
  const HttpReply reply = client.call(method, path, body);
  if (reply.status < 400) return reply.body;
  const bool explained =
      reply.body.is_object() && reply.body.contains("error") && reply.body["error"].is_string();
  if (explained) throw Error(reply.body["error"].get<std::string>());
  fail("stintd answers with status {}", reply.status);
}

std::string time_text(const json& value) {
  return format_time(sys_seconds{seconds{value.get<std::int64_t>()}});
}

std::string price_text(const json& plan) {
  const auto& price = plan.at("price");
  return price.at("amount").get<std::string>() + " " + price.at("currency").get<std::string>();
}

std::string joined(const json& list) {
  return fmt::format("{}", fmt::join(list.get<std::vector<std::string>>(), ","));
}

void print_line(const std::string& label, const std::string& text) {
  std::cout << fmt::format("{:<11} {}\n", label, text);
}

void print_plan(const Options& options, const json& plan) {
  if (options.format == "json") {
    std::cout << plan.dump(2) << "\n";
    return;
  }
  const auto& price = plan.at("price");
  const auto& segment = plan.at("segments").at(0);
  print_line("plan", plan.at("name"));
  const std::string reason =
      plan.contains("reason") ? ": " + plan["reason"].get<std::string>() : std::string{};
  print_line("state", plan.at("state").get<std::string>() + reason);
  print_line("owner", plan.at("owner"));
  print_line("users", joined(plan.at("users")));
  print_line("partition", plan.at("partition"));
  print_line("capacity", capacity_text(plan));
  print_line("nodes", format_host_list(segment.at("nodes").get<std::vector<std::string>>()));
  if (!segment.at("lost").empty()) print_line("lost", joined(segment.at("lost")));
  print_line("switches", std::to_string(plan.at("switches").get<int>()));
  print_line("from", time_text(segment.at("start")));
  print_line("until", time_text(segment.at("end")));
  print_line("reservation", segment.at("reservation"));
  print_line("price", fmt::format("{} ({} a node and hour; spares are free)", price_text(plan),
                                  price.at("rate").get<std::string>()));
}

void print_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths(rows.front().size(), 0);
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += i + 1 == row.size() ? row[i] : fmt::format("{:<{}}  ", row[i], widths[i]);
    }
    std::cout << line << "\n";
  }
}

void list(const Options& options) {
  const json plans = call(options, "GET", "/v1/plans");
  if (options.format == "json") {
    std::cout << plans.dump(2) << "\n";
    return;
  }
  std::vector<std::vector<std::string>> rows{
      {"NAME", "STATE", "OWNER", "PARTITION", "NODES", "FROM", "UNTIL", "PRICE"}};
  for (const auto& plan : plans) {
    const auto& segment = plan.at("segments").at(0);
    rows.push_back({plan.at("name"), plan.at("state"), plan.at("owner"), plan.at("partition"),
                    capacity_text(plan), time_text(segment.at("start")), time_text(segment.at("end")),
                    price_text(plan)});
  }
  print_table(rows);
}

json request_of(const Options& options) {
  const auto now = std::chrono::floor<seconds>(std::chrono::system_clock::now());
  const auto explain = [&](const char* option, const auto& parse) {
    try {
      return parse();
    } catch (const Error& error) {
      fail("plan {}: --{}: {}", options.name, option, error.what());
    }
  };
  json body{{"name", options.name}, {"nodes", options.nodes}, {"spares", options.spares}};
  body["duration"] = explain("duration", [&] { return parse_duration(options.duration).count(); });
  if (options.start != "now") {
    body["start"] =
        explain("start", [&] { return parse_time(options.start, now).time_since_epoch().count(); });
  }
  if (!options.partition.empty()) body["partition"] = options.partition;
  if (!options.users.empty()) body["users"] = options.users;
  return body;
}

bool confirmed() {
  std::cout << "Book it? [y/N] " << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

void create(const Options& options) {
  check_plan_name(options.name);
  json body = request_of(options);
  const bool ask = !options.yes && ::isatty(STDIN_FILENO) != 0 && ::isatty(STDOUT_FILENO) != 0;
  if (ask) {
    body["quote"] = true;
    print_plan(options, call(options, "POST", "/v1/plans", body));
    if (!confirmed()) fail("plan {}: not booked", options.name);
    body.erase("quote");
  }
  print_plan(options, call(options, "POST", "/v1/plans", body));
}

void cancel(const Options& options) {
  json body = json::object();
  if (options.force) body["force"] = true;
  print_plan(options, call(options, "DELETE", plan_path(options.name), body));
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

void add_create(CLI::App& group, const std::shared_ptr<Options>& options) {
  auto& command =
      add_subcommand(group, options, "create", "Book a plan: nodes for a time at a fixed price", create);
  command.add_option("--name", options->name, "its name")->required();
  command.add_option("--nodes", options->nodes, "nodes to train on")
      ->required()
      ->check(CLI::Range(1, 65'536));
  command.add_option("--spares", options->spares, "nodes that take over when one dies (free)")
      ->check(CLI::Range(0, 65'535));
  command.add_option("--duration", options->duration, "90m, 12h, 2d or Slurm's d-hh:mm:ss")->required();
  command.add_option("--start", options->start, "now, now+2h, 18:00 or 2026-11-23T18:00")
      ->capture_default_str();
  command.add_option("--partition", options->partition, "default: Slurm's default partition");
  command.add_option("--users", options->users, "who may submit (default: you); the first one owns the plan")
      ->delimiter(',');
  command.add_flag("--yes", options->yes, "do not ask before booking");
}

}  // namespace

CLI::App& add_plan_command(CLI::App& app) {
  auto* group = app.add_subcommand("plan", "Training plans: book, list, show, cancel");
  group->require_subcommand(1);
  const auto options = std::make_shared<Options>();
  add_create(*group, options);
  add_subcommand(*group, options, "list", "List plans, also those that ended in the last week", list);
  auto& show_command = add_subcommand(*group, options, "show", "Show one plan", [](const Options& chosen) {
    print_plan(chosen, call(chosen, "GET", plan_path(chosen.name)));
  });
  show_command.add_option("NAME", options->name, "the plan")->required();
  auto& cancel_command =
      add_subcommand(*group, options, "cancel", "End a plan and give its nodes back", cancel);
  cancel_command.add_option("NAME", options->name, "the plan")->required();
  cancel_command.add_flag("--force", options->force, "end the jobs in it first");
  return *group;
}

}  // namespace stint::reservations
