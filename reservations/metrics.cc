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
      requests_(prometheus::BuildCounter()
                    .Name("stint_http_requests_total")
                    .Help("HTTP requests by status")
                    .Register(*registry_)),
      failures_(counter(*registry_, "stint_node_failures_total", "Nodes of running jobs found dead")),
      swaps_(counter(*registry_, "stint_node_swaps_total", "Dead nodes replaced inside a plan")),
      requeues_(counter(*registry_, "stint_fast_requeues_total", "Jobs that ran again after a fast requeue")),
      cluster_errors_(counter(*registry_, "stint_slurm_errors_total", "Calls to Slurm that failed")),
      requeue_seconds_(histogram(*registry_, "stint_fast_requeue_seconds",
                                 "Seconds from the notice of a failure to the job running again",
                                 {1, 2, 3, 4, 5, 7, 10, 15, 30, 60, 300})),
      request_seconds_(histogram(*registry_, "stint_http_request_seconds", "Seconds an HTTP request took",
                                 {0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10})) {}

void Metrics::set_plans(const std::map<std::string, int>& plans_by_state) {
  for (const char* state : {"booking", "scheduled", "active", "expired", "failed", "cancelled"}) {
    const auto found = plans_by_state.find(state);
    plans_.Add({{"state", state}}).Set(found == plans_by_state.end() ? 0 : found->second);
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
