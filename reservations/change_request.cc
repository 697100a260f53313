// SPDX-License-Identifier: Apache-2.0
#include "reservations/change_request.h"

#include "base/error.h"
#include "reservations/json_fields.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr std::int64_t kMaxNodes = 65'536;
constexpr std::int64_t kLatest = 1LL << 40;
constexpr seconds kMaxDuration = std::chrono::days{3650};

std::optional<int> count(JsonFields& fields, const char* field, std::int64_t least) {
  const auto value = fields.integer(field, least, kMaxNodes);
  return value ? std::optional(static_cast<int>(*value)) : std::nullopt;
}

std::optional<sys_seconds> time(JsonFields& fields, const char* field) {
  const auto value = fields.integer(field, 0, kLatest);
  return value ? std::optional(sys_seconds{seconds{*value}}) : std::nullopt;
}

}  // namespace

ExtendRequest ExtendRequest::parse(const std::string& plan, const nlohmann::json& body) {
  JsonFields fields("plan " + plan, body);
  ExtendRequest request;
  request.offer = fields.text("offer").value_or("");
  request.duration = fields.duration("duration", kMaxDuration).value_or(seconds{});
  request.until = time(fields, "until");
  request.nodes = count(fields, "nodes", 1);
  request.spares = count(fields, "spares", 0);
  fields.refuse_others();
  const int ways = (request.offer.empty() ? 0 : 1) + (request.duration > seconds{} ? 1 : 0) +
                   (request.until ? 1 : 0) + (request.nodes || request.spares ? 1 : 0);
  if (ways != 1) fail("plan {}: extend by one of duration, until, nodes and spares, offer", plan);
  return request;
}

ShrinkRequest ShrinkRequest::parse(const std::string& plan, const nlohmann::json& body) {
  JsonFields fields("plan " + plan, body);
  ShrinkRequest request;
  request.until = time(fields, "until");
  request.nodes = count(fields, "nodes", 1);
  request.spares = count(fields, "spares", 0);
  request.quote = fields.flag("quote").value_or(false);
  fields.refuse_others();
  if (request.until.has_value() == (request.nodes || request.spares))
    fail("plan {}: shrink by one of until, nodes and spares", plan);
  return request;
}

ShareRequest ShareRequest::parse(const std::string& plan, const nlohmann::json& body) {
  JsonFields fields("plan " + plan, body);
  ShareRequest request;
  request.add = fields.names("add").value_or(std::vector<std::string>{});
  request.remove = fields.names("remove").value_or(std::vector<std::string>{});
  request.add_accounts = fields.names("add_accounts").value_or(std::vector<std::string>{});
  request.remove_accounts = fields.names("remove_accounts").value_or(std::vector<std::string>{});
  fields.refuse_others();
  if (request.add.empty() && request.remove.empty() && request.add_accounts.empty() &&
      request.remove_accounts.empty())
    fail("plan {}: name users or accounts to add or to remove", plan);
  return request;
}

CancelRequest CancelRequest::parse(const std::string& plan, const nlohmann::json& body) {
  JsonFields fields("plan " + plan, body);
  CancelRequest request;
  request.force = fields.flag("force").value_or(false);
  request.quote = fields.flag("quote").value_or(false);
  fields.refuse_others();
  return request;
}

std::string parse_transfer(const std::string& plan, const nlohmann::json& body) {
  JsonFields fields("plan " + plan, body);
  const auto owner = fields.text("to").value_or("");
  fields.refuse_others();
  if (owner.empty()) fail("plan {}: 'to' is missing: the user who becomes its owner", plan);
  return owner;
}

}  // namespace stint::reservations
