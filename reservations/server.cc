// SPDX-License-Identifier: Apache-2.0
#include "reservations/server.h"

#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <functional>

#include "base/error.h"
#include "base/log.h"
#include "base/one_line.h"
#include "reservations/deadline_stream.h"
#include "reservations/peers.h"

namespace stint::reservations {
namespace {

constexpr int kWaitingConnections = 1'024;
constexpr std::size_t kMaxBody = 1 << 20;
// For a whole request to come, and a whole reply to go, however slow the client.
constexpr std::chrono::seconds kRequestTime{3}, kReplyTime{10};
constexpr std::chrono::seconds kKeepAlive{2};  // between two requests of one connection
// Of connections beyond their address's share: enough for a client whose request is on its way already.
constexpr std::chrono::milliseconds kCrowdedTime{100}, kCrowdedReply{1000};
constexpr char kJson[] = "application/json";
constexpr std::uint32_t kNobody = UINT32_MAX;
constexpr std::size_t kLongestReason = 1'000;  // in the log

bool needs_credential(const std::string& path) {
  return path != "/v1/health";
}

std::string path_of(const httplib::Request& request) {
  return request.target.empty() ? request.path : request.target;
}

// Why httplib refused a request by itself.
std::string refusal_text(int status) {
  switch (status) {
    case 404:
      return "stintd knows no such method and path";
    case 411:
      return "the request's body must have a Content-Length";
    case 413:
      return fmt::format("the request's body is larger than {} bytes", kMaxBody);
    case 414:
      return "the request's path is too long";
    case 415:
      return "the request's body must not be compressed";
    case 416:
      return "stintd answers whole documents only, no ranges";
    default:
      return fmt::format("stintd refuses the request (status {})", status);
  }
}

// Whom this thread serves: httplib does not know it before a request's head has come as a whole.
thread_local std::string served_peer;

// A slow client holds its thread until the deadlines, no longer; and so that one address's clients do not
// hold all threads, those beyond its share must have sent their one request by the time they are served.
class DeadlineServer : public httplib::Server {
 public:
  explicit DeadlineServer(int threads) : quota_(threads) {}

  // httplib lets five connections wait; the sixth that comes at once is dropped, or its client told a second
  // later.
  bool let_wait(int connections) { return ::listen(svr_sock_, connections) == 0; }

 private:
  bool process_and_close_socket(socket_t socket) override {
    DeadlineStream stream(socket);
    bool good = true;
    // One that has no address any more is gone.
    if (!stream.peer().empty()) good = serve(stream);
    ::shutdown(socket, SHUT_RDWR);
    ::close(socket);
    return good;
  }

  bool serve(DeadlineStream& stream) {
    const PeerQuota::Place place(quota_, stream.peer());
    served_peer = stream.peer();
    const auto runs = [this] { return svr_sock_ != INVALID_SOCKET; };
    const auto comes = [&] {
      return place.within() ? stream.await_request(kKeepAlive, kRequestTime, kReplyTime, runs)
                            : stream.await_request(kCrowdedTime, kCrowdedTime, kCrowdedReply, runs);
    };
    bool good = true;
    for (std::size_t left = place.within() ? keep_alive_max_count_ : 1; good && left > 0; --left) {
      if (!comes()) break;
      bool closed = false;
      good = process_request(stream, left == 1, closed, nullptr);
      if (closed) break;
    }
    return good;
  }

  PeerQuota quota_;
};

// Of a request that stintd refuses to read at all; 0: it may pass. Encoded bodies are refused because what
// they grow to is not bounded, ranges because they can ask for the same page a thousand times.
int unreadable(const httplib::Request& request) {
  if (request.has_header("Transfer-Encoding")) return 411;
  if (request.has_header("Content-Encoding")) return 415;
  return request.has_header("Range") ? 416 : 0;
}

// What a stranger wrote, safe to stand in a log: one line, plain characters, bounded.
std::string for_log(std::string_view text) {
  constexpr std::size_t kLongest = 120;
  std::string plain(text.substr(0, kLongest));
  for (char& c : plain) {
    if (c <= ' ' || c >= 0x7f) c = '?';
  }
  return plain;
}

// Somebody tries what is not theirs, or what no client of ours sends.
bool suspicious(int status) {
  return status == 401 || status == 403 || status == 411 || status == 413 || status == 415 || status == 416;
}

std::string error_of(const nlohmann::json& body) {
  const auto found = body.find("error");
  return found != body.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

constexpr char kUnknownCaller[] = "an unknown user";

std::string uid_text(std::uint32_t uid) {
  return uid == kNobody ? kUnknownCaller : fmt::format("uid {}", uid);
}

// The pages are whole in themselves and nobody may frame them or add to them.
void set_page_headers(httplib::Response& response) {
  response.set_header("Content-Security-Policy",
                      "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
                      "form-action 'none'; frame-ancestors 'none'");
  response.set_header("X-Content-Type-Options", "nosniff");
  response.set_header("Referrer-Policy", "no-referrer");
  response.set_header("Cache-Control", "no-store");
}

}  // namespace

struct Server::Impl {
  Api& api;
  const Pages& pages;
  Metrics& metrics;
  Munge munge;
  DeadlineServer http;
  LogQuota log_quota{};

  void log_refusal(const httplib::Request& request, int status, const std::string& caller,
                   const std::string& why) {
    const auto verdict = log_quota.ask(served_peer, LogQuota::Clock::now());
    if (verdict.counted > 0)
      spdlog::warn("refused {} more requests from {} since", verdict.counted, served_peer);
    if (!verdict.write) return;
    spdlog::log(suspicious(status) ? spdlog::level::warn : spdlog::level::info,
                "refused with {}: {} {} of {} at {}: {}{}", status, for_log(request.method),
                for_log(path_of(request)), caller, served_peer, as_one_line(why, kLongestReason),
                verdict.last ? fmt::format(" (further ones from there are only counted, for up to {} s)",
                                           LogQuota::kWhile.count())
                             : "");
  }

  // Whatever is answered is counted with its status and its time.
  template <typename Work>
  void counted(httplib::Response& response, Work work) {
    const auto began = std::chrono::steady_clock::now();
    work();
    metrics.count_request(response.status,
                          std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  }

  void answer(const httplib::Request& request, httplib::Response& response) {
    counted(response, [&] {
      std::uint32_t uid = kNobody;
      const ApiReply reply = authorised(request, uid);
      response.status = reply.status;
      response.set_content(reply.body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), kJson);
      sign(request, response);
      if (reply.status >= 400 && reply.status < 500)
        log_refusal(request, reply.status, uid_text(uid), error_of(reply.body));
    });
  }

  // `uid` is the caller's as soon as it is proven.
  ApiReply authorised(const httplib::Request& request, std::uint32_t& uid) {
    const std::string path = path_of(request);
    if (!needs_credential(path)) return api.handle(request.method, path, request.body, kNobody);
    const auto credential = request.get_header_value(kCredentialHeader);
    if (credential.empty())
      return {401, {{"error", "the request carries no munge credential; use the program stint"}}};
    Munge::Opened opened;
    try {
      opened = munge.decode(credential);
    } catch (const Error& error) {
      return {401, {{"error", error.what()}}};
    }
    uid = opened.uid;
    if (opened.payload != request_payload(request.method, path, request.body)) {
      return {401, {{"error", "the request is not what its munge credential was made for"}}};
    }
    return api.handle(request.method, path, request.body, opened.uid);
  }

  void sign(const httplib::Request& request, httplib::Response& response) {
    const auto credential = request.get_header_value(kCredentialHeader);
    if (credential.empty() || response.has_header(kCredentialHeader)) return;
    try {
      response.set_header(kCredentialHeader,
                          munge.encode(reply_payload(credential, response.status, response.body)));
    } catch (const Error& error) {
      spdlog::error("a reply goes out unsigned: {}", error.what());
    }
  }

  // Whom the credential of a request that is not read belongs to.
  std::string signer_of(const httplib::Request& request) const {
    try {
      return uid_text(munge.decode(request.get_header_value(kCredentialHeader)).uid);
    } catch (const Error&) {
      return kUnknownCaller;
    }
  }

  void refuse_unread(const httplib::Request& request, httplib::Response& response) {
    counted(response, [&] {
      const std::string why = refusal_text(response.status);
      response.set_content(nlohmann::json{{"error", why}}.dump(), kJson);
      response.set_header("Connection", "close");
      log_refusal(request, response.status, signer_of(request), why);
      sign(request, response);
    });
  }

  void show(httplib::Response& response, const std::function<Page()>& make) {
    counted(response, [&] {
      const Page page = make();
      response.status = page.status;
      response.set_content(page.html, "text/html; charset=utf-8");
      set_page_headers(response);
    });
  }

  void set_routes() {
    const auto handler = [this](const httplib::Request& request, httplib::Response& response) {
      answer(request, response);
    };
    const std::string api_paths = R"(/v1/.*)";
    http.Get("/", [this](const httplib::Request& request, httplib::Response& response) {
      show(response, [&] { return pages.calendar(request.get_param_value("span")); });
    });
    http.Get(R"(/plans/([^/]*))", [this](const httplib::Request& request, httplib::Response& response) {
      show(response, [&] { return pages.plan(request.matches[1]); });
    });
    http.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
      response.set_content(metrics.text(), "text/plain; version=0.0.4; charset=utf-8");
    });
    http.Get(api_paths, handler).Post(api_paths, handler).Delete(api_paths, handler);
    http.set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
      const int status = unreadable(request);
      if (status == 0) return httplib::Server::HandlerResponse::Unhandled;
      response.status = status;
      refuse_unread(request, response);
      return httplib::Server::HandlerResponse::Handled;
    });
    // What httplib refuses by itself (a body too large, an unknown path) is answered in the same form.
    http.set_error_handler([this](const httplib::Request& request, httplib::Response& response) {
      if (response.body.empty()) refuse_unread(request, response);
    });
    http.set_exception_handler([](const httplib::Request&, httplib::Response& response, std::exception_ptr) {
      response.status = 500;
    });
  }
};

Server::Server(Api& api, const Pages& pages, Metrics& metrics, Munge munge, int threads)
    : impl_(new Impl{api, pages, metrics, std::move(munge), DeadlineServer(threads)}) {
  auto& http = impl_->http;
  http.new_task_queue = [threads] { return new httplib::ThreadPool(static_cast<std::size_t>(threads)); };
  http.set_payload_max_length(kMaxBody);
  http.set_tcp_nodelay(true);
  // httplib's default lets a second server share the port unseen.
  http.set_socket_options([](socket_t socket) {
    const int on = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  });
  impl_->set_routes();
}

Server::~Server() = default;

void Server::bind(const std::string& host, int port) {
  errno = 0;
  if (impl_->http.bind_to_port(host.c_str(), port) && impl_->http.let_wait(kWaitingConnections)) return;
  const std::string cause = errno == 0 ? "no such address" : errno_text(errno);
  fail("cannot listen on {}:{}: {}; see [stintd] listen", host, port, cause);
}

void Server::serve() {
  impl_->http.listen_after_bind();
}

void Server::stop() {
  impl_->http.stop();
}

}  // namespace stint::reservations
