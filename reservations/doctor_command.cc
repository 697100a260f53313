// SPDX-License-Identifier: Apache-2.0
#include "reservations/doctor_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "base/config.h"
#include "base/error.h"
#include "base/http.h"
#include "base/text.h"
#include "reservations/doctor.h"

namespace stint::reservations {
namespace {

// A stintd that is being restarted is asked again for so long.
constexpr std::chrono::seconds kTell{8}, kTellOnce{3}, kTellAgain{1};
// Beside the checks themselves: asking Slurm, and telling stintd.
constexpr std::chrono::seconds kAround{60};

struct Options {
  std::string config;
  std::string format = "table";
  std::string node;
  bool report = false;
};

std::string text_of(const char* variable) {
  const char* value = std::getenv(variable);
  return value == nullptr ? "" : value;
}

// In a job Slurm says it; else the host's own name without its domain.
std::string own_name() {
  if (const auto name = text_of("SLURMD_NODENAME"); !name.empty()) return name;
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) return "localhost";
  const std::string name = host.data();
  return name.substr(0, name.find('.'));
}

HttpReply call_until(const HttpClient& client, std::chrono::steady_clock::time_point deadline,
                     const nlohmann::json& body) {
  while (true) {
    try {
      return client.call("POST", "/v1/checks", body);
    } catch (const Error&) {
      if (std::chrono::steady_clock::now() + kTellAgain >= deadline) throw;
      std::this_thread::sleep_for(kTellAgain);
    }
  }
}

// stintd believes this only of a job of its own on this node.
void tell_service(const Patient& patient, const std::vector<Finding>& findings) {
  if (text_of("SLURM_JOB_ID").empty()) fail("this is no job of stintd's; leave --report out");
  const auto job = parse_integer(text_of("SLURM_JOB_ID"), 1, UINT32_MAX);
  const HttpClient client(patient.config.address, Munge(patient.config.munge_socket),
                          patient.config.server_uids, kTellOnce);
  const nlohmann::json body{{"job", job}, {"node", patient.node}, {"checks", to_json(findings)}};
  const auto reply = call_until(client, std::chrono::steady_clock::now() + kTell, body);
  if (reply.status >= 400) fail("{}", reply.body.value("error", "stintd refuses the findings"));
}

void check_node(const Options& options) {
  const Config config = load_config(options.config);
  const auto patient = admit(options.node.empty() ? own_name() : options.node, config);
  ::alarm(static_cast<unsigned>((patient.rules.timeout + kAround).count()));
  const auto findings = examine(patient, node_checks());
  const bool good = all_good(findings);
  if (options.format == "json") {
    const nlohmann::json json{
        {"node", patient.node}, {"verdict", good ? "ok" : "bad"}, {"checks", to_json(findings)}};
    fmt::print("{}\n", json.dump(2));
  } else {
    fmt::print("{}", findings_text(patient.node, findings));
  }
  if (options.report) {
    try {
      tell_service(patient, findings);
    } catch (const Error& error) {
      std::cerr << "stint: stintd was not told: " << error.what() << "\n";  // it has the exit status
    }
  }
  const bool told = std::fflush(stdout) == 0;
  ::_exit(good && told ? 0 : 1);
}

}  // namespace

CLI::App& add_doctor_command(CLI::App& app) {
  auto* group = app.add_subcommand("doctor", "Is this machine fit for training?");
  group->require_subcommand(1);
  const auto options = std::make_shared<Options>();
  auto* node = group->add_subcommand(
      "node",
      "Check the node this runs on against what Slurm expects of it; exit status 1: something is bad");
  node->add_option("--config", options->config, "stint.conf to read");
  node->add_option("--format", options->format, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  node->add_option("--node", options->node,
                   "its name in Slurm (default: the job's node, else the host's name)");
  node->add_flag("--report", options->report, "tell stintd, which alone starts this in jobs of its own");
  node->callback([options] { check_node(*options); });
  return *group;
}

}  // namespace stint::reservations
