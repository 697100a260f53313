// SPDX-License-Identifier: Apache-2.0
#include "reservations/probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>

namespace stint::reservations {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

// A socket on 127.0.0.1 with a port of the kernel's choice; listens when told.
class Port {
 public:
  explicit Port(bool listening, int queue = 8) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    ::bind(fd_, reinterpret_cast<sockaddr*>(&address), length);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &length);
    number_ = ntohs(address.sin_port);
    if (listening) ::listen(fd_, queue);
  }
  ~Port() { ::close(fd_); }
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;
  std::uint16_t number() const { return number_; }
  int fd() const { return fd_; }

 private:
  int fd_;
  std::uint16_t number_ = 0;
};

// Connects, or tries to.
class Caller {
 public:
  explicit Caller(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address);
  }
  ~Caller() { ::close(fd_); }
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;

 private:
  int fd_;
};

TEST(TcpProber, TellsListenersFromClosedPortsAndNonsense) {
  const Port open(true);
  const Port closed(false);
  TcpProber prober;
  const auto answers = prober.probe({{"a", "127.0.0.1", open.number()},
                                     {"b", "127.0.0.1", closed.number()},
                                     {"c", "no.such.host.invalid", 1},
                                     {"d", "127.0.0.1", open.number()}},
                                    milliseconds{2'000});
  EXPECT_THAT(answers, ElementsAre(Answer::kAlive, Answer::kRefused, Answer::kUnknown, Answer::kAlive));
}

TEST(TcpProber, AFullQueueOfALiveHostIsNoSilence) {
  const Port full(true, 0);
  std::vector<std::unique_ptr<Caller>> callers;
  for (int i = 0; i < 4; ++i) callers.push_back(std::make_unique<Caller>(full.number()));
  TcpProber prober;
  EXPECT_THAT(prober.probe({{"a", "127.0.0.1", full.number()}}, milliseconds{300}),
              ElementsAre(Answer::kUnknown));
}

TEST(TcpProber, ListenerHasNothingToAccept) {
  const Port open(true);
  TcpProber prober;
  for (int i = 0; i < 5; ++i) {
    ASSERT_THAT(prober.probe({{"a", "127.0.0.1", open.number()}}, milliseconds{2'000}),
                ElementsAre(Answer::kAlive));
  }
  pollfd waiting{open.fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&waiting, 1, 100), 0);
}

TEST(TcpProber, MoreTargetsThanOneBatchKeepTheirOrder) {
  const Port open(true);
  const Port closed(false);
  std::vector<ProbeTarget> targets;
  for (int i = 0; i < 600; ++i)
    targets.push_back({"n", "127.0.0.1", i % 3 == 0 ? open.number() : closed.number()});
  TcpProber prober;
  const auto answers = prober.probe(targets, milliseconds{5'000});
  ASSERT_EQ(answers.size(), targets.size());
  for (std::size_t i = 0; i < answers.size(); ++i) {
    ASSERT_EQ(answers[i], i % 3 == 0 ? Answer::kAlive : Answer::kRefused) << i;
  }
}

const std::vector<ProbeTarget> kTwo{{"a", "", 0}, {"b", "", 0}};

TEST(DeadNodes, TwoBadAnswersInARowAreNeeded) {
  DeadNodes dead(2, seconds{0});
  EXPECT_THAT(dead.add_round(kTwo, {Answer::kRefused, Answer::kAlive}, 0), IsEmpty());
  EXPECT_THAT(dead.add_round(kTwo, {Answer::kAlive, Answer::kAlive}, 0), IsEmpty());
  EXPECT_THAT(dead.add_round(kTwo, {Answer::kRefused, Answer::kAlive}, 0), IsEmpty());
  EXPECT_THAT(dead.add_round(kTwo, {Answer::kSilent, Answer::kAlive}, 0), ElementsAre("a"));
}

TEST(DeadNodes, SilenceEverywhereIsThisMachinesOwnFault) {
  DeadNodes dead(2, seconds{0});
  for (int i = 0; i < 5; ++i)
    EXPECT_THAT(dead.add_round(kTwo, {Answer::kSilent, Answer::kSilent}, 0), IsEmpty());
  EXPECT_THAT(dead.add_round(kTwo, {Answer::kSilent, Answer::kAlive}, 0), IsEmpty());
  EXPECT_THAT(dead.add_round(kTwo, {Answer::kSilent, Answer::kAlive}, 0), ElementsAre("a"));
}

TEST(DeadNodes, AnAddressWithoutMeaningProvesNothing) {
  DeadNodes dead(2, seconds{0});
  for (int i = 0; i < 5; ++i)
    EXPECT_THAT(dead.add_round(kTwo, {Answer::kUnknown, Answer::kAlive}, 0), IsEmpty());
}

TEST(DeadNodes, NodesThatAreNotAskedForAreForgotten) {
  DeadNodes dead(2, seconds{0});
  dead.add_round(kTwo, {Answer::kRefused, Answer::kAlive}, 0);
  dead.add_round({{"b", "", 0}}, {Answer::kAlive}, 0);
  EXPECT_THAT(dead.add_round(kTwo, {Answer::kRefused, Answer::kAlive}, 0), IsEmpty());
}

TEST(DeadNodes, ASlurmdWhoseHostAnswersHasTimeToComeBack) {
  DeadNodes dead(2, seconds{10});
  const std::vector<Answer> refused{Answer::kRefused, Answer::kAlive};
  for (double now = 100; now < 110; now += 0.5) EXPECT_THAT(dead.add_round(kTwo, refused, now), IsEmpty());
  EXPECT_THAT(dead.add_round(kTwo, refused, 110), ElementsAre("a"));
  EXPECT_THAT(dead.add_round(kTwo, {Answer::kAlive, Answer::kAlive}, 111), IsEmpty());
  EXPECT_THAT(dead.add_round(kTwo, refused, 112), IsEmpty());
  EXPECT_THAT(dead.add_round(kTwo, {Answer::kSilent, Answer::kAlive}, 112.5), ElementsAre("a"));
}

}  // namespace
}  // namespace stint::reservations
