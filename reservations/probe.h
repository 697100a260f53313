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
#include <span>
#include <string>
#include <vector>

namespace stint::reservations {

enum class Answer {
  kAlive,    // somebody listens
  kRefused,  // the host answers, nobody listens
  kSilent,   // no answer in time, or no way there
  kUnknown,  // says nothing about the node: the address has no meaning here, or the host answers while
             // slurmd's port is silent, as when somebody floods it
};

struct ProbeTarget {
  std::string node;
  std::string address;
  std::uint16_t port = 0;
};

class Prober {
 public:
  virtual ~Prober() = default;
  // One answer a target, in order; takes at most twice `timeout` for every 256 targets.
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
  void doubt_silence(std::span<const ProbeTarget> targets, std::span<Answer> answers,
                     std::chrono::milliseconds timeout);

  std::mutex mutex_;
  std::map<std::string, Address> addresses_;
};

// A node is dead after `needed` bad answers in a row. Where its host answers, slurmd may be on its way back:
// that counts only once it has been away for `grace`. When every answer of a round is silence, it is more
// likely this machine that has lost its network, and the round does not count.
class DeadNodes {
 public:
  DeadNodes(int needed, std::chrono::milliseconds grace) : needed_(needed), grace_(grace) {}

  // Returns the targets that are dead as of this round; forgets nodes that are no longer asked for. `now`:
  // seconds.
  std::vector<std::string> add_round(const std::vector<ProbeTarget>& targets,
                                     const std::vector<Answer>& answers, double now);

 private:
  struct Absence {
    int answers = 0;  // bad ones in a row
    double since = 0;
  };

  int needed_;
  std::chrono::duration<double> grace_;
  std::map<std::string, Absence> absent_;
};

}  // namespace stint::reservations
