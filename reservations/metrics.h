// SPDX-License-Identifier: Apache-2.0
// What stintd counts, in Prometheus's form. Safe from several threads.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <memory>
#include <string>

#include "reservations/tally.h"

namespace stint::reservations {

class Metrics {
 public:
  Metrics();

  void set_plans(const Tally& tally);
  void count_failure();                // a node was found dead
  void count_swap();                   // a plan got another node
  void count_requeue(double seconds);  // from the failure's notice to the job running again
  void count_request(int status, double seconds);
  void count_cluster_error();                    // a call to Slurm failed
  void count_notice(const std::string& result);  // sent, failed, given_up

  std::string text() const;

 private:
  std::shared_ptr<prometheus::Registry> registry_;
  prometheus::Family<prometheus::Gauge>& plans_;
  prometheus::Family<prometheus::Gauge>& nodes_;
  prometheus::Family<prometheus::Gauge>& next_start_;
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Family<prometheus::Counter>& notices_;
  prometheus::Counter& failures_;
  prometheus::Counter& swaps_;
  prometheus::Counter& requeues_;
  prometheus::Counter& cluster_errors_;
  prometheus::Histogram& requeue_seconds_;
  prometheus::Histogram& request_seconds_;
};

}  // namespace stint::reservations
