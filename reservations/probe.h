// SPDX-License-Identifier: Apache-2.0
// Is a slurmd there? Many ports asked at once. Knows addresses and answers, nothing of jobs.
//
// A probe is half a TCP handshake: the kernel's answer to the first packet says whether somebody listens, and
// the connection is reset before slurmd would have to accept it, so that its log stays clean.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace stint::reservations {

enum class Answer {
  kAlive,    // somebody listens
  kRefused,  // the host answers, nobody listens
  kSilent,   // no answer in time, or no way there
  kUnknown,  // the address has no meaning here; says nothing about the node
};

struct ProbeTarget {
  std::string node;
  std::string address;
  std::uint16_t port = 0;
};

class Prober {
 public:
  virtual ~Prober() = default;
  // One answer a target, in order; takes at most `timeout` for every 256 targets.
  virtual std::vector<Answer> probe(const std::vector<ProbeTarget>& targets,
                                    std::chrono::milliseconds timeout) = 0;
};

// Safe from several threads. Names are looked up once and kept for a minute.
class TcpProber : public Prober {
 public:
  std::vector<Answer> probe(const std::vector<ProbeTarget>& targets,
                            std::chrono::milliseconds timeout) override;

 private:
  struct Address {
    std::string bytes;  // a sockaddr; empty: no such host
    std::chrono::steady_clock::time_point looked_up;
  };
  std::string resolve(const std::string& host, std::uint16_t port);

  std::mutex mutex_;
  std::map<std::string, Address> addresses_;
};

// A node is dead after `needed` bad answers in a row. When every answer of a round is silence, it is more
// likely this machine that has lost its network, and the round does not count.
class DeadNodes {
 public:
  explicit DeadNodes(int needed) : needed_(needed) {}

  // Returns the targets that are dead as of this round; forgets nodes that are no longer asked for.
  std::vector<std::string> add_round(const std::vector<ProbeTarget>& targets,
                                     const std::vector<Answer>& answers);

 private:
  int needed_;
  std::map<std::string, int> bad_in_a_row_;
};

}  // namespace stint::reservations
