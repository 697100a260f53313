// SPDX-License-Identifier: Apache-2.0
#include "reservations/offer_desk.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "reservations/json_fields.h"
#include "reservations/refusal.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr std::int64_t kMaxNodes = 65'536;
constexpr std::int64_t kMaxSegments = 32;
constexpr std::int64_t kMaxOffers = 50;
constexpr std::int64_t kMaxGpus = 1'024;
constexpr std::int64_t kLatest = 1LL << 40;
constexpr seconds kMaxDuration = std::chrono::days{366};
constexpr std::int64_t kMostCells = 16'000'000;      // segments times minutes: 128 MB
constexpr std::size_t kMostWays = 2;                 // to other nodes, that are told of
constexpr int kMostAtOnce = 4;                       // searches of one user
constexpr seconds kOneSegmentAtLeast{3600};          // unless the whole is shorter
constexpr seconds kHorizon = std::chrono::weeks{8};  // where no --before is given

OfferOrder order_of(const std::string& text) {
  if (text == "finish") return OfferOrder::kFinish;
  if (text == "price") return OfferOrder::kPrice;
  if (text == "switches") return OfferOrder::kSwitches;
  fail("search: sort must be finish, price or switches, not '{}'", text.substr(0, 40));
}

// A few large nodes hold the GPUs, or more small ones: the largest first.
std::vector<OfferRequest> ways_to_hold_gpus(const OfferRequest& request, const Scene& scene) {
  if (request.gpus == 0) return {request};
  std::vector<OfferRequest> ways;
  for (const int each : Capacity::gpu_counts(request.kind, scene)) {
    ways.push_back(request);
    ways.back().kind.gpus = each;
    ways.back().query.nodes = static_cast<std::size_t>((request.gpus + each - 1) / each);
  }
  if (ways.empty() && !Capacity::gpu_counts({request.kind.partition, {}, request.kind.gpus}, scene).empty()) {
    refuse(409, "search: no node of partition {} with {} has GPUs; leave --features out, or ask for --nodes",
           request.kind.partition, fmt::join(request.kind.features, " and "));
  }
  if (ways.empty())
    refuse(409, "search: no node of partition {} has GPUs; ask for --nodes", request.kind.partition);
  return ways;
}

nlohmann::json to_json(const Offer& offer) {
  nlohmann::json segments = nlohmann::json::array();
  for (const auto& segment : offer.segments) {
    segments.push_back({{"start", segment.window.start.time_since_epoch().count()},
                        {"end", segment.window.end.time_since_epoch().count()},
                        {"nodes", segment.nodes},
                        {"switches", segment.switches}});
  }
  return {{"segments", segments},
          {"finish", offer.finish().time_since_epoch().count()},
          {"switches", offer.switches()},
          {"price", to_json(offer.price)},
          {"why", offer.why}};
}

}  // namespace

OfferRequest OfferRequest::parse(const nlohmann::json& body) {
  JsonFields fields("search", body);
  OfferRequest request;
  request.kind.partition = fields.text("partition").value_or("");
  request.kind.features = fields.names("features").value_or(std::vector<std::string>{});
  request.kind.gpus = static_cast<int>(fields.integer("gpus_per_node", 0, kMaxGpus).value_or(0));
  request.account = fields.text("account").value_or("");
  auto& query = request.query;
  query.nodes = static_cast<std::size_t>(fields.integer("nodes", 1, kMaxNodes).value_or(0));
  request.gpus = static_cast<int>(fields.integer("gpus", 1, kMaxNodes * kMaxGpus).value_or(0));
  query.spares = static_cast<std::size_t>(fields.integer("spares", 0, kMaxNodes).value_or(0));
  query.duration = fields.duration("duration", kMaxDuration).value_or(seconds{});
  query.after = sys_seconds{seconds{fields.integer("after", 0, kLatest).value_or(0)}};
  query.before = sys_seconds{seconds{fields.integer("before", 0, kLatest).value_or(0)}};
  query.max_segments = static_cast<std::size_t>(fields.integer("segments", 1, kMaxSegments).value_or(1));
  query.min_segment =
      fields.duration("min_segment", kMaxDuration).value_or(std::min(kOneSegmentAtLeast, query.duration));
  query.max_cents = fields.integer("max_cents", 0, INT64_MAX);
  query.order = order_of(fields.text("sort").value_or("finish"));
  query.most = static_cast<std::size_t>(fields.integer("most", 1, kMaxOffers).value_or(5));
  fields.refuse_others();
  if ((query.nodes == 0) == (request.gpus == 0)) fail("search: give either nodes or gpus");
  if (query.duration == seconds{}) fail("search: duration is missing");
  if (query.min_segment > query.duration) fail("search: min_segment is longer than the whole duration");
  if (query.before != sys_seconds{} && query.before <= query.after)
    fail("search: --before does not lie behind --after");
  return request;
}

nlohmann::json to_json(const Availability& availability) {
  nlohmann::json steps = nlohmann::json::array();
  for (const auto& step : availability.steps) {
    steps.push_back({{"from", step.from.time_since_epoch().count()}, {"free", step.free}});
  }
  return {{"partition", availability.partition},
          {"nodes", availability.nodes},
          {"until", availability.until.time_since_epoch().count()},
          {"steps", steps}};
}

nlohmann::json to_json(const SearchAnswer& answer) {
  nlohmann::json offers = nlohmann::json::array();
  for (const auto& [id, offer] : answer.offers) {
    offers.push_back(to_json(offer));
    offers.back()["id"] = id;
    offers.back()["needs_approval"] = answer.need_approval.contains(id);
    if (!answer.gpus_per_node) continue;
    offers.back()["gpus_per_node"] = *answer.gpus_per_node;
    offers.back()["gpus"] = static_cast<std::size_t>(*answer.gpus_per_node) * answer.nodes;
  }
  nlohmann::json json{{"offers", offers}, {"valid_until", answer.valid_until.time_since_epoch().count()}};
  if (!answer.need_approval.empty()) json["approvers"] = answer.approvers;
  for (const auto& [field, text] : {std::pair("reason", answer.reason), std::pair("remedy", answer.remedy),
                                    std::pair("warning", answer.warning)}) {
    if (!text.empty()) json[field] = text;
  }
  return json;
}

OfferDesk::OfferDesk(const Capacity& capacity, const Gate& gate, const Accounts& accounts,
                     const Settings& settings, Now now)
    : capacity_(capacity), gate_(gate), accounts_(accounts), settings_(settings), now_(std::move(now)) {}

sys_seconds OfferDesk::now() const {
  return sys_seconds{seconds{static_cast<std::int64_t>(now_())}};
}

// One user's searches while they last: each may take a second and 200 MB.
class OfferDesk::Turn {
 public:
  Turn(OfferDesk& desk, std::uint32_t uid) : desk_(desk), uid_(uid) {
    const std::lock_guard lock(desk_.turns_mutex_);
    auto& under_way = desk_.turns_[uid_];
    if (under_way >= kMostAtOnce)
      refuse(429, "search: {} of yours are under way; wait for one of them", under_way);
    ++under_way;
  }
  ~Turn() {
    const std::lock_guard lock(desk_.turns_mutex_);
    if (--desk_.turns_[uid_] == 0) desk_.turns_.erase(uid_);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  OfferDesk& desk_;
  std::uint32_t uid_;
};

SearchAnswer OfferDesk::search(OfferRequest request, std::uint32_t uid) {
  const Turn turn(*this, uid);
  auto& query = request.query;
  const auto account = accounts_.choose("search", request.account, uid, uid);
  gate_.check_booker("search", uid, account);
  request.kind.partition = gate_.partition("search", request.kind.partition);
  const auto asked = query;
  query.after = std::max(query.after, gate_.earliest(now()));
  gate_.check_start("search", query.after, now());
  if (query.before == sys_seconds{}) query.before = query.after + query.duration + kHorizon;
  query.latest = now() + settings_.policy.max_lead + query.duration;
  query.before = std::min(query.before, query.latest);
  const auto span = query.before - query.after;
  if (span / std::chrono::minutes{1} * static_cast<std::int64_t>(query.max_segments) > kMostCells) {
    refuse(400,
           "search: {} segments within {} are too many to look for; take fewer --segments or an earlier "
           "--before",
           query.max_segments, format_duration(span));
  }

  const Scene scene = capacity_.look();
  auto found = find_best(request, scene);
  SearchAnswer answer;
  answer.reason = std::move(found.reason);
  if (found.offers.empty() && !found.short_of_nodes) answer.reason += policy_text(request, asked, scene);
  answer.remedy = std::move(found.remedy);
  answer.nodes = query.nodes;
  answer.approvers = gate_.approvers_text(account);
  if (Capacity::has_gpus(scene)) answer.gpus_per_node = Capacity::node_class(request.kind, scene.nodes).gpus;
  answer.valid_until = now() + Shelf<ShelvedOffer>::kValid;
  auto warnings = gate_.partition_warnings(request.kind.partition, static_cast<int>(query.nodes),
                                           query.duration, account, uid);
  if (const auto waiting = Capacity::waiting_jobs(request.kind.partition, scene);
      waiting > 0 && !found.offers.empty()) {
    warnings.push_back(fmt::format("{} job{} in partition {}; {} may take nodes before these are booked",
                                   waiting, waiting == 1 ? " waits" : "s wait", request.kind.partition,
                                   waiting == 1 ? "it" : "they"));
  }
  for (auto& offer : found.offers) {
    const auto id = shelf_.put({request, offer}, now(), uid);
    if (gate_.needs_approval(static_cast<int>(query.nodes + query.spares), offer.price.cents, uid, account))
      answer.need_approval.insert(id);
    answer.offers.emplace_back(id, std::move(offer));
  }
  if (auto warning = budget_warning(answer, account); !warning.empty())
    warnings.push_back(std::move(warning));
  answer.warning = fmt::format("{}", fmt::join(warnings, "; "));
  return answer;
}

// What of the policy kept the search from more: "; nothing may begin before … ([policy] min_lead)".
std::string OfferDesk::policy_text(const OfferRequest& request, const OfferQuery& asked,
                                   const Scene& scene) const {
  const auto& query = request.query;
  const auto supply = Capacity::supply(request.kind, scene);
  std::string text;
  if (!supply.whole() && !query.max_cents) text += "; " + supply.text();  // what is too dear is there
  if (query.after > std::max(asked.after, now()))
    text += fmt::format("; nothing may begin before {} ([policy] min_lead)", format_time(query.after));
  if (asked.before > query.before)
    text += fmt::format("; nothing may begin after {} ([policy] max_lead)",
                        format_time(query.latest - query.duration));
  return text;
}

// About the offers that the account cannot pay.
std::string OfferDesk::budget_warning(const SearchAnswer& answer, const std::string& account) const {
  std::vector<std::string> ids;
  std::string left;
  for (const auto& [id, offer] : answer.offers) {
    const auto over = accounts_.overrun(account, offer.price.cents, offer.segments.front().window.start);
    if (!over) continue;
    ids.push_back(fmt::format("{} ({} too much)", id, amount_text(over->cents)));
    if (left.empty()) left = over->text;
  }
  if (ids.empty()) return {};
  return fmt::format("{}; it cannot book {}", left, fmt::join(ids, ", "));
}

OfferAnswer OfferDesk::find(const OfferRequest& request, const Scene& scene) const {
  const auto kind = Capacity::node_class(request.kind, scene.nodes);
  const auto tariff = [&](std::size_t nodes, const std::vector<Window>& windows) {
    return settings_.money.prices.price({kind, nodes, windows, now()});
  };
  auto query = request.query;
  const auto& prices = settings_.money.prices;
  query.price_edges = prices.changes(kind, {query.after, query.before});
  for (const auto& discount : prices.discounts) query.price_edges.push_back(now() + discount.min_lead);
  tell_shortage(request.kind, scene, query);
  return find_offers(capacity_.planner(request.kind, scene), tariff, query);
}

// What was asked for and could be left out, and partitions that have enough nodes for it.
std::vector<std::pair<std::string, NodeKind>> OfferDesk::other_kinds(const NodeKind& kind) const {
  std::vector<std::pair<std::string, NodeKind>> others;
  for (const auto& feature : kind.features) {
    others.emplace_back(fmt::format("without feature {}", feature), kind);
    std::erase(others.back().second.features, feature);
  }
  if (kind.features.size() > 1)
    others.emplace_back("without --features", NodeKind{kind.partition, {}, kind.gpus});
  for (const auto& partition : gate_.partitions()) {
    if (partition == kind.partition) continue;
    others.emplace_back("with --partition " + partition, kind);
    others.back().second.partition = partition;
  }
  return others;
}

void OfferDesk::tell_shortage(const NodeKind& kind, const Scene& scene, OfferQuery& query) const {
  const auto supply = Capacity::supply(kind, scene);
  const auto count = query.nodes + query.spares;
  if (supply.left() >= count) return;
  auto first = query;
  first.most = 1;
  first.max_cents.reset();
  first.price_edges.clear();
  std::vector<std::string> ways;
  for (const auto& [how, other] : other_kinds(kind)) {
    if (ways.size() == kMostWays) break;
    if (Capacity::supply(other, scene).left() < count) continue;
    const auto found = find_offers(
        capacity_.planner(other, scene), [](auto&&...) { return Price{}; }, first);
    if (found.offers.empty()) continue;
    ways.push_back(fmt::format("{}, so many are free from {}", how,
                               format_time(found.offers.front().segments.front().window.start)));
  }
  query.shortage = supply.text();
  query.elsewhere = fmt::format("{}", fmt::join(ways, "; "));
}

// Whose first offer is the better one in the order asked for; `request` becomes the one that it answers.
OfferAnswer OfferDesk::find_best(OfferRequest& request, const Scene& scene) const {
  const auto better = [&](const Offer& a, const Offer& b) {
    if (a.is_split() != b.is_split()) return b.is_split();
    if (request.query.order == OfferOrder::kPrice) return a.price.cents < b.price.cents;
    if (request.query.order == OfferOrder::kSwitches) return a.switches() < b.switches();
    return a.finish() < b.finish();
  };
  // Without offers, what lacks time is nearer than what lacks nodes.
  const auto wins = [&](const OfferAnswer& found, const OfferAnswer& other) {
    if (found.offers.empty()) return other.short_of_nodes && !found.short_of_nodes;
    return other.offers.empty() || better(found.offers.front(), other.offers.front());
  };
  std::optional<OfferAnswer> best;
  for (const auto& way : ways_to_hold_gpus(request, scene)) {
    try {
      gate_.check_size("search", static_cast<int>(way.query.nodes + way.query.spares), way.query.duration);
    } catch (const Refusal&) {
      if (!best) throw;
      break;  // smaller nodes are more nodes
    }
    auto found = find(way, scene);
    if (best && !wins(found, *best)) continue;
    best = std::move(found);
    request = way;
  }
  return std::move(*best);
}

Availability OfferDesk::availability(NodeKind kind, seconds span) const {
  Availability availability;
  availability.partition = kind.partition = gate_.partition("availability", kind.partition);
  const Planner planner = capacity_.planner(kind);
  const auto origin = std::chrono::floor<std::chrono::minutes>(now());
  const auto horizon = static_cast<Minute>(span / std::chrono::minutes{1});
  availability.nodes = planner.size();
  availability.until = origin + std::chrono::minutes{horizon};
  const auto counts = WindowSearch(planner.free_times(origin, horizon), horizon).free_counts();
  for (Minute minute = 0; minute < horizon; ++minute) {
    if (minute > 0 && counts[minute] == counts[minute - 1]) continue;
    availability.steps.push_back({origin + std::chrono::minutes{minute}, counts[minute]});
  }
  return availability;
}

}  // namespace stint::reservations
