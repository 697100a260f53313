// SPDX-License-Identifier: Apache-2.0
#include "base/http.h"

#include <gmock/gmock.h>
#include <httplib.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "base/error.h"
#include "tests/unit/base/munge_daemon.h"

namespace stint {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using namespace std::chrono_literals;

class SignedHttp : public testing::Test {
 protected:
  static void SetUpTestSuite() { daemon_ = new MungeDaemon; }
  static void TearDownTestSuite() {
    delete daemon_;
    daemon_ = nullptr;
  }
  static Munge munge() { return Munge(daemon_->socket()); }
  static MungeDaemon* daemon_;
};
MungeDaemon* SignedHttp::daemon_ = nullptr;

// Answers as stintd must: verifies the request, signs the reply. `tamper` may spoil the answer.
class Server {
 public:
  using Tamper = std::function<void(httplib::Response&)>;
  explicit Server(Munge munge, Tamper tamper = {}, std::chrono::milliseconds delay = {}) {
    const auto answer = [=](const httplib::Request& request, httplib::Response& response) {
      std::this_thread::sleep_for(delay);
      const std::string credential = request.get_header_value(kCredentialHeader);
      json body;
      try {
        const Munge::Opened opened = munge.decode(credential);
        const bool same = opened.payload == request_payload(request.method, request.target, request.body);
        body = {{"uid", opened.uid}, {"same", same}, {"target", request.target}, {"echo", request.body}};
      } catch (const Error& error) {
        body = {{"error", error.what()}};
        response.status = 403;
      }
      if (request.path == "/missing") response.status = 404;
      if (response.status == -1) response.status = 200;
      response.set_content(body.dump(), "application/json");
      response.set_header(kCredentialHeader,
                          munge.encode(reply_payload(credential, response.status, response.body)));
      if (tamper) tamper(response);
    };
    server_.Get(".*", answer);
    server_.Post(".*", answer);
    server_.Delete(".*", answer);
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::sleep_for(1ms);
  }
  ~Server() {
    server_.stop();
    thread_.join();
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  httplib::Server server_;
  int port_ = 0;
  std::thread thread_;
};

std::vector<std::uint32_t> me() {
  return {static_cast<std::uint32_t>(::geteuid())};
}

TEST_F(SignedHttp, CredentialCarriesPayloadAndUid) {
  const std::string payload("with \0 byte", 11);
  const Munge::Opened opened = munge().decode(munge().encode(payload));
  EXPECT_EQ(opened.payload, payload);
  EXPECT_EQ(opened.uid, ::geteuid());
  EXPECT_EQ(opened.gid, ::getegid());
  EXPECT_EQ(munge().decode(munge().encode("")).payload, "");
}

TEST_F(SignedHttp, ReplayedForgedAndGarbledCredentialsAreRefused) {
  const std::string credential = munge().encode("once");
  munge().decode(credential);
  EXPECT_THAT(error_of([&] { munge().decode(credential); }), HasSubstr("munge: credential refused"));
  std::string forged = munge().encode("other");
  forged[forged.size() / 2] = forged[forged.size() / 2] == 'A' ? 'B' : 'A';
  EXPECT_THAT(error_of([&] { munge().decode(forged); }), HasSubstr("munge: credential refused"));
  EXPECT_THAT(error_of([&] { munge().decode("MUNGE:nonsense:"); }), HasSubstr("munge: credential refused"));
  EXPECT_THAT(error_of([&] { munge().decode(""); }), HasSubstr("munge: credential refused"));
}

TEST_F(SignedHttp, CredentialOfAnotherKeyIsRefused) {
  const MungeDaemon other;
  const std::string credential = Munge(other.socket()).encode("x");
  EXPECT_THAT(error_of([&] { munge().decode(credential); }), HasSubstr("munge: credential refused"));
}

TEST_F(SignedHttp, MissingDaemonIsSaid) {
  EXPECT_THAT(error_of([] { Munge("/nonexistent/socket").encode("x"); }), HasSubstr("is munged running?"));
}

TEST_F(SignedHttp, ServerSeesUidMethodPathAndBody) {
  const Server server(munge());
  const HttpClient client(server.address(), munge(), me(), 5s);
  const HttpReply reply = client.call("POST", "/v1/plans?x=%20y", {{"name", "demo"}});
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body["uid"], ::geteuid());
  EXPECT_TRUE(reply.body["same"]);
  EXPECT_EQ(reply.body["target"], "/v1/plans?x=%20y");
  EXPECT_EQ(reply.body["echo"], R"({"name":"demo"})");
  EXPECT_TRUE(client.call("GET", "/v1/plans").body["same"]);
  EXPECT_TRUE(client.call("DELETE", "/v1/plans/demo").body["same"]);
}

TEST_F(SignedHttp, LargeBodiesAreSignedToo) {
  const Server server(munge());
  const HttpReply reply = HttpClient(server.address(), munge(), me(), 5s)
                              .call("POST", "/x", {{"pad", std::string(2 << 20, 'p')}});
  EXPECT_TRUE(reply.body["same"]);
}

TEST_F(SignedHttp, ErrorStatusIsReturnedNotThrown) {
  const Server server(munge());
  EXPECT_EQ(HttpClient(server.address(), munge(), me(), 5s).call("GET", "/missing").status, 404);
}

std::string call_error(const Server& server, const Munge& munge, std::vector<std::uint32_t> uids) {
  return error_of([&] { HttpClient(server.address(), munge, std::move(uids), 5s).call("GET", "/x"); });
}

TEST_F(SignedHttp, ReplyThatWasChangedIsRefused) {
  const Server body(munge(), [](httplib::Response& response) { response.body[1] = 'X'; });
  EXPECT_THAT(call_error(body, munge(), me()), HasSubstr("was changed on the way"));
  const Server status(munge(), [](httplib::Response& response) { response.status = 201; });
  EXPECT_THAT(call_error(status, munge(), me()), HasSubstr("was changed on the way"));
}

TEST_F(SignedHttp, ReplyToAnotherRequestIsRefused) {
  const Server server(munge(), [this](httplib::Response& response) {
    response.headers.erase(kCredentialHeader);
    response.set_header(kCredentialHeader,
                        munge().encode(reply_payload("another", response.status, response.body)));
  });
  EXPECT_THAT(call_error(server, munge(), me()), HasSubstr("was changed on the way"));
}

TEST_F(SignedHttp, UnsignedReplyAndStrangersReplyAreRefused) {
  const Server server(munge(),
                      [](httplib::Response& response) { response.headers.erase(kCredentialHeader); });
  EXPECT_THAT(call_error(server, munge(), me()), HasSubstr("is not signed"));
  const Server good(munge());
  EXPECT_THAT(call_error(good, munge(), {::geteuid() + 1}), HasSubstr("not by the configured user"));
}

TEST_F(SignedHttp, NobodyThereAndNoAnswerInTimeAreErrors) {
  const HttpClient nobody("127.0.0.1:1", munge(), me(), 1s);
  EXPECT_THAT(error_of([&] { nobody.call("GET", "/x"); }), HasSubstr("stintd at 127.0.0.1:1: no answer"));
  const Server slow(munge(), {}, 600ms);
  const HttpClient hasty(slow.address(), munge(), me(), 100ms);
  EXPECT_THAT(error_of([&] { hasty.call("GET", "/x"); }), HasSubstr("no answer"));
}

TEST_F(SignedHttp, TheNextAddressIsAskedOnlyWhereNobodyTookTheConnection) {
  const Server server(munge());
  const auto asked = [&](const std::string& first) {
    return HttpClient(first + "," + server.address(), munge(), me(), 500ms).call("GET", "/missing").status;
  };
  EXPECT_EQ(asked("127.0.0.1:1"), 404);
  const Server slow(munge(), {}, 900ms);
  EXPECT_THAT(error_of([&] { asked(slow.address()); }), HasSubstr("no answer"));
  EXPECT_THAT(error_of([&] { HttpClient("127.0.0.1:1,127.0.0.1:2", munge(), me(), 1s).call("GET", "/x"); }),
              HasSubstr("stintd at 127.0.0.1:1,127.0.0.1:2: no answer"));
}

TEST_F(SignedHttp, BadAddressesAndPathsAreErrors) {
  for (const char* address : {"", "host", ":1", "host:", "host:99999", "host:x"}) {
    EXPECT_NE(error_of([&] { HttpClient(address, munge(), me(), 1s).call("GET", "/x"); }), "no error")
        << address;
  }
  const HttpClient client("127.0.0.1:1", munge(), me(), 1s);
  for (const char* path : {"", "x", "/a b", "/a\r\nHost: x"}) {
    EXPECT_THAT(error_of([&] { client.call("GET", path); }), HasSubstr("is no path of a request")) << path;
  }
}

TEST(Payload, DistinguishesEveryPart) {
  EXPECT_NE(request_payload("GET", "/a", ""), request_payload("GET", "/b", ""));
  EXPECT_NE(request_payload("GET", "/a", ""), request_payload("POST", "/a", ""));
  EXPECT_NE(request_payload("GET", "/a", "x"), request_payload("GET", "/a", "y"));
  // SHA-256 of the empty string, from FIPS 180-4's examples.
  EXPECT_THAT(request_payload("GET", "/a", ""),
              HasSubstr("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
}

}  // namespace
}  // namespace stint
