// SPDX-License-Identifier: Apache-2.0
#include "reservations/probe.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <span>
#include <utility>

namespace stint::reservations {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kAtOnce = 256;
constexpr std::chrono::minutes kAddressLife{1};
constexpr std::uint16_t kOtherPort = 1;  // open nearly nowhere

class Socket {
 public:
  explicit Socket(int family) : fd_(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {}
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  Socket& operator=(Socket&&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

Answer answer_of(int error) {
  switch (error) {
    case 0:
      return Answer::kAlive;
    case ECONNREFUSED:
    case ECONNRESET:
      return Answer::kRefused;
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
      return Answer::kSilent;
    default:
      return Answer::kUnknown;
  }
}

// The last packet of the handshake waits, and closing sends a reset instead of it.
void ask_for_half_a_handshake(int fd) {
  const int off = 0;
  const linger reset{1, 0};
  ::setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &off, sizeof off);
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

struct Attempt {
  Socket socket;
  Answer answer = Answer::kUnknown;
  bool waiting = false;
};

Attempt start(const std::string& address) {
  sockaddr_storage storage{};
  std::copy_n(address.data(), std::min(address.size(), sizeof storage), reinterpret_cast<char*>(&storage));
  Attempt attempt{Socket(address.empty() ? AF_UNSPEC : storage.ss_family)};
  if (address.empty() || attempt.socket.fd() < 0) return attempt;
  ask_for_half_a_handshake(attempt.socket.fd());
  const auto length = static_cast<socklen_t>(address.size());
  const int result = ::connect(attempt.socket.fd(), reinterpret_cast<const sockaddr*>(&storage), length);
  if (result != 0 && errno == EINPROGRESS) {
    attempt.waiting = true;
  } else {
    attempt.answer = answer_of(result == 0 ? 0 : errno);
  }
  return attempt;
}

void finish(Attempt& attempt) {
  int error = 0;
  socklen_t length = sizeof error;
  ::getsockopt(attempt.socket.fd(), SOL_SOCKET, SO_ERROR, &error, &length);
  attempt.answer = answer_of(error);
  attempt.waiting = false;
}

void wait_for_answers(std::vector<Attempt>& attempts, milliseconds timeout) {
  const auto deadline = steady_clock::now() + timeout;
  while (true) {
    std::vector<pollfd> waiting;
    std::vector<Attempt*> owners;
    for (auto& attempt : attempts) {
      if (!attempt.waiting) continue;
      waiting.push_back({attempt.socket.fd(), POLLOUT, 0});
      owners.push_back(&attempt);
    }
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
    if (waiting.empty() || left.count() <= 0) break;
    if (::poll(waiting.data(), waiting.size(), static_cast<int>(left.count())) < 0 && errno != EINTR) break;
    for (std::size_t i = 0; i < waiting.size(); ++i) {
      if (waiting[i].revents != 0) finish(*owners[i]);
    }
  }
  for (auto& attempt : attempts) {
    if (attempt.waiting) attempt.answer = Answer::kSilent;
  }
}

std::string look_up(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return {};
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  return {reinterpret_cast<const char*>(found->ai_addr), found->ai_addrlen};
}

}  // namespace

std::string TcpProber::resolve(const std::string& host, std::uint16_t port) {
  const std::string key = host + ":" + std::to_string(port);
  const auto now = steady_clock::now();
  {
    const std::lock_guard lock(mutex_);
    const auto known = addresses_.find(key);
    if (known != addresses_.end() && now - known->second.looked_up < kAddressLife) return known->second.bytes;
  }
  auto bytes = look_up(host, port);
  const std::lock_guard lock(mutex_);
  addresses_[key] = {bytes, now};
  return bytes;
}

std::vector<Answer> TcpProber::probe(const std::vector<ProbeTarget>& targets, milliseconds timeout) {
  std::vector<Answer> answers;
  for (std::size_t first = 0; first < targets.size(); first += kAtOnce) {
    const auto part = std::span(targets).subspan(first, std::min(kAtOnce, targets.size() - first));
    std::vector<Attempt> attempts;
    for (const auto& target : part) attempts.push_back(start(resolve(target.address, target.port)));
    wait_for_answers(attempts, timeout);
    for (const auto& attempt : attempts) answers.push_back(attempt.answer);
    doubt_silence(part, std::span(answers).subspan(first), timeout);
  }
  return answers;
}

// A port whose queue is full is as silent as a dead host; another port of a live host is not.
void TcpProber::doubt_silence(std::span<const ProbeTarget> targets, std::span<Answer> answers,
                              milliseconds timeout) {
  std::vector<Attempt> attempts;
  std::vector<Answer*> doubted;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (answers[i] != Answer::kSilent) continue;
    attempts.push_back(start(resolve(targets[i].address, kOtherPort)));
    doubted.push_back(&answers[i]);
  }
  wait_for_answers(attempts, timeout);
  for (std::size_t i = 0; i < attempts.size(); ++i) {
    const auto answer = attempts[i].answer;
    if (answer == Answer::kAlive || answer == Answer::kRefused) *doubted[i] = Answer::kUnknown;
  }
}

std::vector<std::string> DeadNodes::add_round(const std::vector<ProbeTarget>& targets,
                                              const std::vector<Answer>& answers, double now) {
  const bool network_lost = !answers.empty() && std::all_of(answers.begin(), answers.end(),
                                                            [](Answer a) { return a == Answer::kSilent; });
  std::map<std::string, Absence> absent;
  std::vector<std::string> dead;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const auto& node = targets[i].node;
    if (answers[i] == Answer::kAlive) continue;
    const auto before = absent_.find(node);
    auto absence = before == absent_.end() ? Absence{0, now} : before->second;
    const bool counts = !network_lost && answers[i] != Answer::kUnknown;
    if (counts) ++absence.answers;
    if (absence.answers > 0) absent[node] = absence;
    const bool patience = answers[i] == Answer::kRefused && now - absence.since < grace_.count();
    if (counts && !patience && absence.answers >= needed_) dead.push_back(node);
  }
  absent_ = std::move(absent);
  return dead;
}

}  // namespace stint::reservations
