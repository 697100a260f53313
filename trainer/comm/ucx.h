// SPDX-License-Identifier: Apache-2.0
// Transport over UCX: shared memory between processes of one node, the network else, whatever UCX finds.
// Every process gives its address() to the others by some other way, then all connect() with the full list.
// UCX's own environment (UCX_TLS, UCX_NET_DEVICES, …) wins over the options here. One thread a transport.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "trainer/comm/transport.h"

namespace stint::comm {

// libucs takes over the signals of crashes when it is loaded: it would print into the log and could hang
// where a crash should simply end the process. A transport calls this; call it too where libucs is loaded and
// none is made.
void give_crash_signals_back();

struct UcxOptions {
  std::string transports;  // as UCX_TLS; empty: all that are sound here
  std::string devices;     // as UCX_NET_DEVICES; empty: all
  // Between two checks whether the process behind a shared-memory connection is alive.
  std::chrono::milliseconds keepalive{200};
};

class UcxTransport final : public Transport {
 public:
  // Throws Error when UCX finds no usable transport or device. Do not fork afterwards without exec; start
  // programs by run_process(), which hands none of UCX's sockets on.
  explicit UcxTransport(const UcxOptions& options = {});
  // Lets a healthy transport's last messages leave, for at most a second; never waits for a dead peer.
  ~UcxTransport() override;

  // Opaque bytes, a few hundred.
  std::string address() const;
  // Once. addresses[r] is that of logical rank r; addresses[rank] is our own. Returns before the peers have
  // answered: one that is not there shows in the first operation. Throws Error on bytes that are no address.
  void connect(int rank, const std::vector<std::string>& addresses, std::uint32_t epoch);

  int rank() const override;
  int size() const override;
  Request send(int peer, Tag tag, std::span<const std::byte> bytes) override;
  Request receive(int peer, Tag tag, std::span<std::byte> bytes) override;
  Outcome test(Request request) override;
  bool arrived(int peer, Tag tag) override;
  bool progress() override;
  void sleep(std::chrono::microseconds limit) override;
  void wake() override;
  Status failure() const override;
  void abort() override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace stint::comm
