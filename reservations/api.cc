// SPDX-License-Identifier: Apache-2.0
#include "reservations/api.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/text.h"
#include "reservations/health.h"
#include "reservations/json_fields.h"
#include "reservations/refusal.h"
#include "reservations/report.h"
#include "reservations/users.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr std::size_t kMaxNodeName = 255;
constexpr std::size_t kMaxWhy = 200;
constexpr std::int64_t kMaxGpus = 1'024;
constexpr std::int64_t kMaxWeeks = 52;

nlohmann::json parse_object(std::string_view body) {
  auto json = nlohmann::json::parse(body, nullptr, false);
  if (json.is_discarded() || !json.is_object()) refuse(400, "the request's body is no JSON object");
  return json;
}

std::string text_field(const std::string& subject, const nlohmann::json& body, const char* field,
                       std::size_t longest) {
  const auto found = body.find(field);
  if (found == body.end() || !found->is_string()) refuse(400, "{}: '{}' must be a text", subject, field);
  auto text = found->get<std::string>();
  if (text.size() > longest) refuse(400, "{}: '{}' is longer than {} characters", subject, field, longest);
  return text;
}

std::uint32_t job_field(const std::string& subject, const nlohmann::json& body) {
  const auto found = body.find("job");
  if (found == body.end() || !found->is_number_unsigned() || found->get<std::uint64_t>() == 0 ||
      found->get<std::uint64_t>() > UINT32_MAX) {
    refuse(400, "{}: 'job' must be a job id", subject);
  }
  return found->get<std::uint32_t>();
}

// A request that cannot be read is the caller's fault.
template <typename Parse>
auto checked(Parse parse) {
  try {
    return parse();
  } catch (const Refusal&) {
    throw;
  } catch (const Error& error) {
    throw Refusal(400, error.what());
  }
}

std::uint32_t job_in_path(std::string_view id) {
  try {
    return static_cast<std::uint32_t>(parse_integer(id, 1, UINT32_MAX));
  } catch (const Error&) {
    refuse(404, "'{}' is no job id", id.substr(0, 40));
  }
}

}  // namespace

Api::Api(Book& book, Failures& failures, Shepherd& shepherd, Opener& opener, Ledger& ledger,
         const Privacy& privacy, std::function<double()> now)
    : book_(book),
      failures_(failures),
      shepherd_(shepherd),
      opener_(opener),
      ledger_(ledger),
      privacy_(privacy),
      now_(std::move(now)) {}

ApiReply Api::handle(std::string_view method, std::string_view path, std::string_view body,
                     std::uint32_t uid) {
  const auto error = [](int status, const std::string& text) { return ApiReply{status, {{"error", text}}}; };
  try {
    return route(method, path, body, uid);
  } catch (const OfferTaken& taken) {
    return ApiReply{taken.status(), {{"error", taken.what()}, {"instead", to_json(taken.instead())}}};
  } catch (const Refusal& refusal) {
    return error(refusal.status(), refusal.what());
  } catch (const ClusterError& failure) {
    spdlog::warn("{} {}: {}", method, path, failure.what());
    const bool away = failure.code() == ClusterError::Code::kUnreachable;
    return error(503, std::string(failure.what()) + (away ? "; nothing is changed, try again later" : ""));
  } catch (const std::exception& failure) {
    spdlog::error("{} {}: {}", method, path, failure.what());
    return error(500, failure.what());
  }
}

ApiReply Api::route(std::string_view method, std::string_view path, std::string_view body,
                    std::uint32_t uid) {
  constexpr std::string_view kPlans = "/v1/plans";
  constexpr std::string_view kJobs = "/v1/jobs/";
  constexpr std::string_view kEvents = "/events";
  constexpr std::string_view kWindow = "/window";
  if (path == "/v1/health" && method == "GET")
    return {200, {{"ok", true}, {"version", STINT_VERSION}, {"time", now_()}}};
  if (path == kPlans && method == "POST") return create_plan(body, uid);
  if (path == kPlans && method == "GET") return list_plans(uid);
  if (path == "/v1/offers" && method == "POST") return search_offers(body, uid);
  if (path == "/v1/report" && method == "POST") return report(body, uid);
  if (path == "/v1/availability" && method == "POST") return show_availability(body);
  if (path == "/v1/failures" && method == "POST") return report_failure(body, uid);
  if (path == "/v1/checks" && method == "POST") return take_findings(body, uid);
  if (path.starts_with("/v1/plans/")) {
    const std::string_view rest = path.substr(kPlans.size() + 1);
    const auto slash = std::min(rest.find('/'), rest.size());
    return handle_plan(method, std::string(rest.substr(0, slash)), rest.substr(slash), body, uid);
  }
  if (path.starts_with(kJobs) && path.ends_with(kEvents) && path.size() > kJobs.size() + kEvents.size() &&
      method == "GET") {
    return job_events(path.substr(kJobs.size(), path.size() - kJobs.size() - kEvents.size()), uid);
  }
  if (path.starts_with(kJobs) && path.ends_with(kWindow) && path.size() > kJobs.size() + kWindow.size() &&
      method == "GET") {
    return job_window(path.substr(kJobs.size(), path.size() - kJobs.size() - kWindow.size()), uid);
  }
  refuse(404, "stintd knows no {} {}", method, path.substr(0, 100));
}

// `part` is what comes behind the name, with its slash.
ApiReply Api::handle_plan(std::string_view method, const std::string& name, std::string_view part,
                          std::string_view body, std::uint32_t uid) {
  if (!valid_name(name)) refuse(404, "plan: there is no plan of that name; see 'stint plan list'");
  refuse_hidden(name, uid);
  const auto parsed = [&](auto parse) { return checked([&] { return parse(name, parse_object(body)); }); };
  if (part.empty() && method == "GET") return show_plan(name, uid);
  if (part.empty() && method == "DELETE") return cancel_plan(name, body, uid);
  if (part == "/history" && method == "GET") return plan_history(name);
  if (method == "POST") {
    if (part == "/extend") return extend_plan(name, body, uid);
    if (part == "/shrink") return {200, show(book_.shrink(name, parsed(ShrinkRequest::parse), uid))};
    if (part == "/share") return {200, show(book_.share(name, parsed(ShareRequest::parse), uid))};
    if (part == "/transfer") return {200, show(book_.transfer(name, parsed(parse_transfer), uid))};
    if (part == "/tags") return {200, show(book_.tag(name, parsed(TagRequest::parse), uid))};
    if (part == "/approve") return {200, show(book_.approve(name, uid))};
  }
  refuse(404, "stintd knows no {} /v1/plans/{}{}", method, name, part.substr(0, 40));
}

ApiReply Api::show_plan(const std::string& name, std::uint32_t uid) const {
  const Plan plan = book_.show(name);
  auto json = show(plan);
  json["jobs"] = jobs_of(plan, uid);
  return {200, json};
}

nlohmann::json Api::jobs_of(const Plan& plan, std::uint32_t uid) const {
  nlohmann::json jobs = nlohmann::json::array();
  for (const auto& job : privacy_.jobs_of(plan, uid)) {
    jobs.push_back({{"id", job.id},
                    {"name", job.name},
                    {"user", user_of_uid(job.uid)},
                    {"state", to_string(job.state)},
                    {"reservation", job.reservation},
                    {"nodes", job.nodes}});
  }
  return jobs;
}

ApiReply Api::extend_plan(const std::string& name, std::string_view body, std::uint32_t uid) {
  const auto request = checked([&] { return ExtendRequest::parse(name, parse_object(body)); });
  if (!request.offer.empty()) return {200, show(book_.extend(name, request.offer, uid))};
  const auto answer = book_.offer_extension(name, request, uid);
  nlohmann::json offers = nlohmann::json::array();
  for (const auto& [id, proposal] : answer.offers) {
    offers.push_back({{"id", id},
                      {"adds", Price{proposal.adds_cents, {}, {}}.amount()},
                      {"why", proposal.why},
                      {"plan", show(proposal.wanted)}});
  }
  nlohmann::json json{{"offers", offers}};
  if (offers.empty()) {
    json["reason"] = answer.reason;
    json["remedy"] = answer.remedy;
  }
  return {200, json};
}

nlohmann::json Api::show(const Plan& plan) const {
  const sys_seconds now{seconds{static_cast<std::int64_t>(now_())}};
  auto json = to_json(plan, now, plan.live_at(now) ? book_.lost_nodes() : std::vector<std::string>{});
  json["needs_approval"] =
      plan.needs_approval && (plan.phase == Phase::kBooking || plan.phase == Phase::kPending);
  if (json["needs_approval"]) json["approvers"] = book_.gate().approvers_text(plan.account);
  NodeSeconds spent;
  for (const auto& row : ledger_.usage(plan.id)) spent += row.spent;
  json["usage"] = to_json(spent);
  if (plan.phase == Phase::kBooked) {
    if (auto opening = opener_.describe(plan); !opening.is_null()) json["opening"] = std::move(opening);
  }
  return json;
}

ApiReply Api::report(std::string_view body, std::uint32_t uid) const {
  const sys_seconds now{seconds{static_cast<std::int64_t>(now_())}};
  const auto request = checked([&] {
    return ReportRequest::parse(body.empty() ? nlohmann::json::object() : parse_object(body), now);
  });
  const auto visible = book_.accounts().visible("report", request.account, uid);
  // Whose plans are hidden, their tags are too: they count among those without it.
  const auto group_of = [&](const Plan& plan) {
    const auto tag = plan.tags.find(request.by_tag);
    return tag == plan.tags.end() || !privacy_.may_see(plan, uid) ? std::string{} : tag->second;
  };
  if (!request.by_tag.empty())
    return {200, to_json(make_report(ledger_, request.window, visible, group_of), request.by_tag)};
  return {200, to_json(make_report(ledger_, request.window, visible))};
}

ApiReply Api::create_plan(std::string_view body, std::uint32_t uid) {
  const auto request = checked([&] { return PlanRequest::parse(parse_object(body)); });
  refuse_hidden_taken(request.name, uid);
  const Plan booked = book_.create(request, uid);
  auto plan = show(booked);
  std::chrono::seconds longest{};
  for (const auto& segment : booked.segments) longest = std::max(longest, segment.end - segment.start);
  if (const auto warnings =
          book_.gate().partition_warnings(booked.kind.partition, booked.nodes, longest, booked.account, uid);
      !warnings.empty())
    plan["warning"] = fmt::format("{}", fmt::join(warnings, "; "));
  if (request.quote) plan["state"] = "quote";
  return {200, plan};
}

ApiReply Api::search_offers(std::string_view body, std::uint32_t uid) {
  const auto request = checked([&] { return OfferRequest::parse(parse_object(body)); });
  return {200, to_json(book_.offers().search(request, uid))};
}

ApiReply Api::show_availability(std::string_view body) {
  NodeKind kind;
  const auto weeks = checked([&] {
    const auto json = parse_object(body);
    JsonFields fields("availability", json);
    kind.partition = fields.text("partition").value_or("");
    kind.features = fields.names("features").value_or(std::vector<std::string>{});
    kind.gpus = static_cast<int>(fields.integer("gpus_per_node", 0, kMaxGpus).value_or(0));
    const auto span = std::chrono::weeks{fields.integer("weeks", 1, kMaxWeeks).value_or(2)};
    fields.refuse_others();
    return span;
  });
  return {200, to_json(book_.offers().availability(kind, weeks))};
}

void Api::refuse_hidden(const std::string& name, std::uint32_t uid) const {
  const auto plan = ledger_.find_plan(name);
  if (plan && !privacy_.may_see(*plan, uid))
    refuse(404, "plan {}: there is no such plan; see 'stint plan list'", name);
}

// A name can be held by one plan only: that it is taken is all there is to say.
void Api::refuse_hidden_taken(const std::string& name, std::uint32_t uid) const {
  const auto plan = ledger_.find_plan(name);
  const sys_seconds now{seconds{static_cast<std::int64_t>(now_())}};
  if (plan && plan->live_at(now) && !privacy_.may_see(*plan, uid))
    refuse(409, "plan {}: the name is taken; take another", name);
}

ApiReply Api::list_plans(std::uint32_t uid) const {
  nlohmann::json plans = nlohmann::json::array();
  for (const auto& plan : privacy_.seen_by(book_.list(), uid)) plans.push_back(show(plan));
  return {200, plans};
}

ApiReply Api::plan_history(const std::string& name) const {
  nlohmann::json entries = nlohmann::json::array();
  for (const auto& entry : book_.history(name)) {
    entries.push_back(
        {{"t", entry.t}, {"who", entry.who}, {"action", entry.action}, {"detail", entry.detail}});
  }
  return {200, entries};
}

ApiReply Api::cancel_plan(const std::string& name, std::string_view body, std::uint32_t uid) {
  const auto request = checked([&] {
    return CancelRequest::parse(name, body.empty() ? nlohmann::json::object() : parse_object(body));
  });
  if (!request.quote) return {200, show(book_.cancel(name, uid, request.force))};
  const auto [plan, gives_back] = book_.quote_cancel(name, uid, request.force);
  auto json = show(plan);
  json["jobs"] = jobs_of(plan, uid);
  json["gives_back"] = gives_back;
  return {200, json};
}

ApiReply Api::report_failure(std::string_view body, std::uint32_t uid) {
  const auto json = parse_object(body);
  const std::string subject = "failure report";
  const auto node = text_field(subject, json, "node", kMaxNodeName);
  const auto why = json.contains("why") ? text_field(subject, json, "why", kMaxWhy) : std::string{};
  const auto verdict = failures_.report(job_field(subject, json), node, why, uid);
  return {200, {{"verdict", verdict.verdict}, {"action", verdict.action}}};
}

ApiReply Api::take_findings(std::string_view body, std::uint32_t uid) {
  const auto json = parse_object(body);
  const std::string subject = "findings";
  const auto node = text_field(subject, json, "node", kMaxNodeName);
  const auto job = job_field(subject, json);
  const auto findings = checked([&] { return parse_findings(json); });
  opener_.take_findings(job, node, bad_ones(findings), uid);
  return {200, nlohmann::json::object()};
}

ApiReply Api::job_events(std::string_view id, std::uint32_t uid) const {
  const std::uint32_t job = job_in_path(id);
  if (!privacy_.may_see_job(job, uid)) refuse(404, "job {}: there is no such job, or it is not yours", job);
  nlohmann::json events = nlohmann::json::array();
  for (const auto& event : ledger_.events(job)) {
    events.push_back(
        {{"t", event.t}, {"event", event.event}, {"node", event.node}, {"detail", event.detail}});
  }
  return {200, events};
}

ApiReply Api::job_window(std::string_view id, std::uint32_t uid) {
  return {200, to_json(shepherd_.window(job_in_path(id), uid))};
}

}  // namespace stint::reservations
