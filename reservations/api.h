// SPDX-License-Identifier: Apache-2.0
// What stintd answers, without HTTP: method, path, body and the caller's uid in, status and JSON out. Every
// failure becomes {"error": "…"}. Safe from several threads.
//
//   POST   /v1/offers            {nodes | gpus, spares?, duration, after?, before?, segments?, min_segment?,
//   partition?,
//                                features?, gpus_per_node?, max_cents?, sort?, most?,
//                                account?} -> {offers, …}
//   POST   /v1/availability      {partition?, features?, gpus_per_node?, weeks?} -> {nodes, steps, …}
//   POST   /v1/plans             {name, nodes, spares?, start?, duration, partition?, features?,
//                                gpus_per_node?, users?, accounts?, account?, tags?, quote?}
//                                or {name, offer, users?, accounts?, account?, tags?, quote?} -> plan
//   POST   /v1/report            {from?, to?, account?, by_tag?} -> {from, to, lines}; asked for by days:
//                                2026-11-01
//   GET    /v1/plans             -> [plan]
//   GET    /v1/plans/NAME        -> plan with its jobs: [{id, name, user, state, reservation, nodes}]
//   GET    /v1/plans/NAME/history -> [{t, who, action, detail}]
//   POST   /v1/plans/NAME/extend  {duration | until | nodes?, spares?} -> {offers: [{id, adds, why, plan}],
//   …}
//                                 or {offer} -> plan
//   POST   /v1/plans/NAME/shrink  {until | nodes?, spares?, quote?} -> plan
//   POST   /v1/plans/NAME/share   {add?, remove?, add_accounts?, remove_accounts?} -> plan
//   POST   /v1/plans/NAME/transfer {to} -> plan
//   POST   /v1/plans/NAME/tags   {set?: {key: value}, remove?: [key]} -> plan
//   POST   /v1/plans/NAME/approve {} -> plan
//   DELETE /v1/plans/NAME        {force?, quote?} -> plan
//   POST   /v1/failures          {job, node, why} -> {verdict, action}
//   POST   /v1/checks            {job, node, checks: [{name, verdict, found, remedy}]} -> {}: of a node's
//   health
//                                check, which stintd itself has started
//   GET    /v1/jobs/ID/events    -> [{t, event, node, detail}]
//   GET    /v1/jobs/ID/window    -> {plan, segment, reservation, ends, next_reservation | null, next_start |
//   null,
//                                    rolls_over}: of a running job, for its owner
//   GET    /v1/health            -> {ok, version, time}
//
// Where Slurm's PrivateData hides reservations, other people's plans and the events of their jobs are not
// there for callers who are neither operators nor users of the plan.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "reservations/book.h"
#include "reservations/failures.h"
#include "reservations/ledger.h"
#include "reservations/opener.h"
#include "reservations/privacy.h"
#include "reservations/shepherd.h"

namespace stint::reservations {

struct ApiReply {
  int status = 200;
  nlohmann::json body;
};

class Api {
 public:
  Api(Book& book, Failures& failures, Shepherd& shepherd, Opener& opener, Ledger& ledger,
      const Privacy& privacy, std::function<double()> now);

  ApiReply handle(std::string_view method, std::string_view path, std::string_view body, std::uint32_t uid);

 private:
  ApiReply route(std::string_view method, std::string_view path, std::string_view body, std::uint32_t uid);
  ApiReply create_plan(std::string_view body, std::uint32_t uid);
  ApiReply search_offers(std::string_view body, std::uint32_t uid);
  ApiReply show_availability(std::string_view body);
  ApiReply report(std::string_view body, std::uint32_t uid) const;
  ApiReply list_plans(std::uint32_t uid) const;
  ApiReply handle_plan(std::string_view method, const std::string& name, std::string_view part,
                       std::string_view body, std::uint32_t uid);
  ApiReply show_plan(const std::string& name, std::uint32_t uid) const;
  ApiReply plan_history(const std::string& name) const;
  ApiReply extend_plan(const std::string& name, std::string_view body, std::uint32_t uid);
  ApiReply cancel_plan(const std::string& name, std::string_view body, std::uint32_t uid);
  ApiReply report_failure(std::string_view body, std::uint32_t uid);
  ApiReply take_findings(std::string_view body, std::uint32_t uid);
  ApiReply job_events(std::string_view id, std::uint32_t uid) const;
  ApiReply job_window(std::string_view id, std::uint32_t uid);
  // What a caller may not see is answered like what is not there.
  void refuse_hidden(const std::string& name, std::uint32_t uid) const;
  void refuse_hidden_taken(const std::string& name, std::uint32_t uid) const;
  nlohmann::json show(const Plan& plan) const;
  nlohmann::json jobs_of(const Plan& plan, std::uint32_t uid) const;

  Book& book_;
  Failures& failures_;
  Shepherd& shepherd_;
  Opener& opener_;
  Ledger& ledger_;
  const Privacy& privacy_;
  std::function<double()> now_;
};

}  // namespace stint::reservations
