// SPDX-License-Identifier: Apache-2.0
// The HTTP side of stintd: the only place that knows cpp-httplib's server. A request to /v1 must carry a
// munge credential over method, path and body; the reply carries one over the request's. The pages (`/`,
// `/plans/NAME`), `/metrics` and `/v1/health` need none. A request must come as a whole within 3 s. What is
// refused is logged, one line with uid and path.
#pragma once

#include <memory>
#include <string>

#include "base/http.h"
#include "reservations/api.h"
#include "reservations/metrics.h"
#include "reservations/pages.h"

namespace stint::reservations {

class Server {
 public:
  Server(Api& api, const Pages& pages, Metrics& metrics, Munge munge, int threads);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Throws Error that names the address when it cannot be had.
  void bind(const std::string& host, int port);
  void serve();  // until stop()
  void stop();   // from another thread

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace stint::reservations
