// SPDX-License-Identifier: Apache-2.0
#include "reservations/service_call.h"

#include <unistd.h>

#include <chrono>
#include <iostream>

#include "base/config.h"
#include "base/error.h"
#include "base/http.h"
#include "base/text.h"
#include "reservations/plan_view.h"

namespace stint::reservations {
namespace {

constexpr std::chrono::seconds kTimeout{60};      // of what changes a plan
constexpr std::chrono::seconds kReadTimeout{15};  // of what only looks

}  // namespace

// Only plain names go into a path.
std::string plan_path(const std::string& name) {
  if (!valid_name(name)) fail("plan: '{}' is no plan name; see 'stint plan list'", name.substr(0, 80));
  return "/v1/plans/" + name;
}

nlohmann::json call_service(const std::string& config_path, const std::string& method,
                            const std::string& path, const nlohmann::json& body) {
  const Config config = load_config(config_path);
  const bool changes = method != "GET" && path.starts_with("/v1/plans");
  const HttpClient client(config.address, Munge(config.munge_socket), config.server_uids,
                          changes ? kTimeout : kReadTimeout);
  const HttpReply reply = client.call(method, path, body);
  if (reply.status < 400) return reply.body;
  const bool explained =
      reply.body.is_object() && reply.body.contains("error") && reply.body["error"].is_string();
  if (reply.body.is_object() && reply.body.contains("instead"))
    std::cout << offers_text(reply.body["instead"]);
  if (explained) throw Error(reply.body["error"].get<std::string>());
  fail("stintd answers with status {}", reply.status);
}

bool somebody_to_ask() {
  return ::isatty(STDIN_FILENO) != 0 && ::isatty(STDOUT_FILENO) != 0;
}

bool confirmed(const std::string& question) {
  std::cout << question << " [y/N] " << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

}  // namespace stint::reservations
