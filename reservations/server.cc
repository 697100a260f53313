// SPDX-License-Identifier: Apache-2.0
#include "reservations/server.h"

#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "base/error.h"
#include "base/log.h"
#include "reservations/deadline_stream.h"

namespace stint::reservations {
namespace {

constexpr std::size_t kMaxBody = 1 << 20;
// For a whole request to come, and a whole reply to go, however slow the client.
constexpr std::chrono::seconds kRequestTime{3}, kReplyTime{10};
constexpr std::chrono::seconds kKeepAlive{2};  // between two requests of one connection
constexpr char kJson[] = "application/json";
constexpr std::uint32_t kNobody = UINT32_MAX;

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
    case 413:
      return fmt::format("the request's body is larger than {} bytes", kMaxBody);
    case 414:
      return "the request's path is too long";
    default:
      return fmt::format("stintd refuses the request (status {})", status);
  }
}

// A slow client holds its thread until the deadlines, no longer.
class DeadlineServer : public httplib::Server {
 private:
  bool process_and_close_socket(socket_t socket) override {
    DeadlineStream stream(socket);
    const auto runs = [this] { return svr_sock_ != INVALID_SOCKET; };
    bool good = true;
    for (std::size_t left = keep_alive_max_count_; good && left > 0; --left) {
      if (!stream.await_request(kKeepAlive, kRequestTime, kReplyTime, runs)) break;
      bool closed = false;
      good = process_request(stream, left == 1, closed, nullptr);
      if (closed) break;
    }
    ::shutdown(socket, SHUT_RDWR);
    ::close(socket);
    return good;
  }
};

}  // namespace

struct Server::Impl {
  Api& api;
  Metrics& metrics;
  Munge munge;
  DeadlineServer http;

  void answer(const httplib::Request& request, httplib::Response& response) {
    const auto began = std::chrono::steady_clock::now();
    ApiReply reply = authorised(request);
    response.status = reply.status;
    response.set_content(reply.body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), kJson);
    sign(request, response);
    metrics.count_request(reply.status,
                          std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  }

  ApiReply authorised(const httplib::Request& request) {
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

  void set_routes() {
    const auto handler = [this](const httplib::Request& request, httplib::Response& response) {
      answer(request, response);
    };
    const std::string api_paths = R"(/v1/.*)";
    http.Get("/", [this](const httplib::Request&, httplib::Response& response) {
      response.set_content(api.page(), "text/html; charset=utf-8");
    });
    http.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
      response.set_content(metrics.text(), "text/plain; version=0.0.4; charset=utf-8");
    });
    http.Get(api_paths, handler).Post(api_paths, handler).Delete(api_paths, handler);
    // What httplib refuses by itself (a body too large, an unknown path) is answered in the same form.
    http.set_error_handler([this](const httplib::Request& request, httplib::Response& response) {
      if (!response.body.empty()) return;
      const nlohmann::json body{{"error", refusal_text(response.status)}};
      response.set_content(body.dump(), kJson);
      sign(request, response);
    });
    http.set_exception_handler([](const httplib::Request&, httplib::Response& response, std::exception_ptr) {
      response.status = 500;
    });
  }
};

Server::Server(Api& api, Metrics& metrics, Munge munge, int threads)
    : impl_(new Impl{api, metrics, std::move(munge), {}}) {
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
  if (impl_->http.bind_to_port(host.c_str(), port)) return;
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
