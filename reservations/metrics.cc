// SPDX-License-Identifier: Apache-2.0
#include "reservations/metrics.h"

#include <prometheus/text_serializer.h>

namespace stint::reservations {
namespace {

prometheus::Counter& counter(prometheus::Registry& registry, const std::string& name,
                             const std::string& help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({});
}

prometheus::Histogram& histogram(prometheus::Registry& registry, const std::string& name,
                                 const std::string& help,
                                 const prometheus::Histogram::BucketBoundaries& bounds) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, bounds);
}

}  // namespace

Metrics::Metrics()
    : registry_(std::make_shared<prometheus::Registry>()),
      plans_(prometheus::BuildGauge().Name("stint_plans").Help("Plans by state").Register(*registry_)),
      nodes_(prometheus::BuildGauge()
                 .Name("stint_nodes")
                 .Help("Nodes of the cluster, and of it those that open segments of plans hold, that jobs of "
                       "plans use, and that plans hold but Slurm does not use")
                 .Register(*registry_)),
      next_start_(prometheus::BuildGauge()
                      .Name("stint_next_segment_start_timestamp_seconds")
                      .Help("When the next segment of a plan starts; absent when none is to come")
                      .Register(*registry_)),
      requests_(prometheus::BuildCounter()
                    .Name("stint_http_requests_total")
                    .Help("HTTP requests by status")
                    .Register(*registry_)),
      notices_(prometheus::BuildCounter()
                   .Name("stint_notices_total")
                   .Help("Deliveries of notices to people, by result; one that failed is tried again")
                   .Register(*registry_)),
      failures_(counter(*registry_, "stint_node_failures_total", "Nodes of running jobs found dead")),
      swaps_(counter(*registry_, "stint_node_swaps_total", "Dead nodes replaced inside a plan")),
      requeues_(counter(*registry_, "stint_fast_requeues_total", "Jobs that ran again after a fast requeue")),
      cluster_errors_(counter(*registry_, "stint_slurm_errors_total", "Calls to Slurm that failed")),
      requeue_seconds_(histogram(*registry_, "stint_fast_requeue_seconds",
                                 "Seconds from the notice of a failure to the job running again",
                                 {1, 2, 3, 4, 5, 7, 10, 15, 30, 60, 300})),
      request_seconds_(histogram(*registry_, "stint_http_request_seconds", "Seconds an HTTP request took",
                                 {0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10})) {
  for (const char* result : {"sent", "failed", "given_up"}) notices_.Add({{"result", result}});
}

void Metrics::set_plans(const Tally& tally) {
  for (const char* state : {"booking", "pending", "scheduled", "active", "expired", "failed", "cancelled"}) {
    const auto found = tally.plans.find(state);
    plans_.Add({{"state", state}}).Set(found == tally.plans.end() ? 0 : found->second);
  }
  const auto set_nodes = [&](const char* kind, std::size_t count) {
    nodes_.Add({{"kind", kind}}).Set(static_cast<double>(count));
  };
  set_nodes("cluster", tally.cluster);
  set_nodes("booked", tally.booked);
  set_nodes("used", tally.used);
  set_nodes("lost", tally.lost);
  auto& next_start = next_start_.Add({});
  if (tally.next_start) {
    next_start.Set(static_cast<double>(tally.next_start->time_since_epoch().count()));
  } else {
    next_start_.Remove(&next_start);
  }
}

void Metrics::count_failure() {
  failures_.Increment();
}
void Metrics::count_swap() {
  swaps_.Increment();
}
void Metrics::count_cluster_error() {
  cluster_errors_.Increment();
}

void Metrics::count_notice(const std::string& result) {
  notices_.Add({{"result", result}}).Increment();
}

void Metrics::count_requeue(double seconds) {
  requeues_.Increment();
  requeue_seconds_.Observe(seconds);
}

void Metrics::count_request(int status, double seconds) {
  requests_.Add({{"status", std::to_string(status)}}).Increment();
  request_seconds_.Observe(seconds);
}

std::string Metrics::text() const {
  return prometheus::TextSerializer().Serialize(registry_->Collect());
}

}  // namespace stint::reservations
