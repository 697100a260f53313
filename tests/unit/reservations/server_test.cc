// SPDX-License-Identifier: Apache-2.0
// The real HTTP server with clients that are slow on purpose.
#include "reservations/server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include "tests/unit/reservations/fake_cluster.h"
#include "tests/unit/reservations/scratch.h"

namespace stint::reservations {
namespace {

using namespace std::chrono_literals;
using testing::StartsWith;
using Clock = std::chrono::steady_clock;

constexpr int kThreads = 4;
constexpr auto kSoon = 5s;  // beyond the 3 s for a request, short of twice that

sockaddr_in local_address(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = local_address(0);
  socklen_t length = sizeof address;
  EXPECT_EQ(::bind(socket, reinterpret_cast<sockaddr*>(&address), length), 0);
  EXPECT_EQ(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length), 0);
  ::close(socket);
  return ntohs(address.sin_port);
}

class Client {
 public:
  explicit Client(int port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    const sockaddr_in address = local_address(port);
    const auto deadline = Clock::now() + kSoon;
    while (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
           Clock::now() < deadline)
      std::this_thread::sleep_for(10ms);
  }
  Client(Client&& other) noexcept : socket_(std::exchange(other.socket_, -1)) {}
  ~Client() {
    if (socket_ >= 0) ::close(socket_);
  }
  void send(const std::string& text) const { (void)!::send(socket_, text.data(), text.size(), MSG_NOSIGNAL); }
  // What came until the server closed the connection or `limit` was over.
  std::string receive(std::chrono::milliseconds limit) const {
    const auto deadline = Clock::now() + limit;
    std::string text;
    char part[4096];
    while (Clock::now() < deadline) {
      pollfd entry{socket_, POLLIN, 0};
      if (::poll(&entry, 1, 50) <= 0) continue;
      const ssize_t got = ::recv(socket_, part, sizeof part, 0);
      if (got <= 0) break;
      text.append(part, static_cast<std::size_t>(got));
    }
    return text;
  }

 private:
  int socket_;
};

const std::string kHealth = "GET /v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

class ServerTest : public testing::Test {
 protected:
  ServerTest()
      : cluster_(8, scratch_.path()),
        ledger_(scratch_.file("ledger.db")),
        book_(
            cluster_, ledger_, metrics_, {}, [this] { return cluster_.now; },
            [](std::chrono::milliseconds) {}),
        failures_(cluster_, ledger_, metrics_, prober_, {}, [this] { return cluster_.now; }),
        shepherd_(cluster_, ledger_, metrics_, {}, [this] { return cluster_.now; }),
        opener_(cluster_, ledger_, metrics_, {}, [this] { return cluster_.now; }),
        lookout_(cluster_),
        privacy_(cluster_, lookout_, book_.gate()),
        api_(book_, failures_, shepherd_, opener_, ledger_, privacy_, [this] { return cluster_.now; }),
        pages_(book_, lookout_, [this] { return cluster_.now; }),
        server_(api_, pages_, metrics_, Munge(scratch_.file("no-munge")), kThreads) {
    server_.bind("127.0.0.1", port_);
    thread_ = std::thread([this] { server_.serve(); });
    const Client first(port_);
    first.send(kHealth);
    EXPECT_THAT(first.receive(kSoon), StartsWith("HTTP/1.1 200"));
  }
  ~ServerTest() override {
    server_.stop();
    thread_.join();
  }

  Scratch scratch_;
  FakeCluster cluster_;
  Ledger ledger_;
  Metrics metrics_;
  TcpProber prober_;
  Book book_;
  Failures failures_;
  Shepherd shepherd_;
  Opener opener_;
  Lookout lookout_;
  Privacy privacy_;
  Api api_;
  Pages pages_;
  const int port_ = free_port();
  Server server_;
  std::thread thread_;
};

TEST_F(ServerTest, ARequestInPiecesIsAnswered) {
  const Client client(port_);
  for (const char letter : kHealth) client.send({letter});
  EXPECT_THAT(client.receive(kSoon), StartsWith("HTTP/1.1 200"));
}

TEST_F(ServerTest, OneConnectionServesSeveralRequests) {
  const Client client(port_);
  for (int i = 0; i < 2; ++i) {
    client.send("GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_THAT(client.receive(300ms), StartsWith("HTTP/1.1 200"));
  }
}

TEST_F(ServerTest, ClientsThatSendAByteNowAndThenStallNobodyForLong) {
  std::vector<Client> slow;
  for (int i = 0; i < kThreads; ++i) slow.emplace_back(port_);
  for (const Client& client : slow) client.send("GET /v1/health HTTP/1.1\r\nX-Long: ");
  std::jthread drops([&](const std::stop_token& token) {
    while (!token.stop_requested()) {
      for (const Client& client : slow) client.send("x");
      std::this_thread::sleep_for(100ms);
    }
  });
  std::this_thread::sleep_for(300ms);  // all threads are theirs now
  const auto began = Clock::now();
  const Client other(port_);
  other.send(kHealth);
  EXPECT_THAT(other.receive(kSoon), StartsWith("HTTP/1.1 200"));
  RecordProperty("seconds", std::to_string(std::chrono::duration<double>(Clock::now() - began).count()));
}

TEST_F(ServerTest, SilentClientsStallNobodyForLong) {
  std::vector<Client> silent;
  for (int i = 0; i < kThreads; ++i) silent.emplace_back(port_);
  std::this_thread::sleep_for(300ms);
  const Client other(port_);
  other.send(kHealth);
  EXPECT_THAT(other.receive(kSoon), StartsWith("HTTP/1.1 200"));
}

TEST_F(ServerTest, CrowdsOfHalfOpenRequestsStallNobodyForLong) {
  std::vector<Client> crowd;
  for (int i = 0; i < 60; ++i) {
    crowd.emplace_back(port_);
    crowd.back().send("GET /v1/health HTTP/1.1\r\nX-Half: ");
  }
  std::this_thread::sleep_for(300ms);
  const Client other(port_);
  other.send(kHealth);
  EXPECT_THAT(other.receive(2 * kSoon), StartsWith("HTTP/1.1 200"));  // 45 s if each had its 3 s
}

}  // namespace
}  // namespace stint::reservations
