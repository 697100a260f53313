// SPDX-License-Identifier: Apache-2.0
#include "base/http.h"

#include <fmt/format.h>
#include <httplib.h>
#include <munge.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include "base/config.h"
#include "base/error.h"

namespace stint {
namespace {

struct FreeMungeContext {
  void operator()(munge_ctx_t context) const { munge_ctx_destroy(context); }
};
struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
using MungeContext = std::unique_ptr<std::remove_pointer_t<munge_ctx_t>, FreeMungeContext>;

// Munge says whose credential it refuses only where that is certain.
std::string with_owner(munge_err_t error, uid_t uid, const char* what) {
  const bool known =
      error == EMUNGE_CRED_EXPIRED || error == EMUNGE_CRED_REWOUND || error == EMUNGE_CRED_REPLAYED;
  return known ? fmt::format("{} of uid {}", what, uid) : std::string(what);
}

// "munge: <what>: <its reason>; …" — every failure of libmunge passes here.
[[noreturn]] void fail_munge(munge_ctx_t context, munge_err_t error, const std::string& what) {
  const char* detail = context ? munge_ctx_strerror(context) : nullptr;
  const std::string reason = detail ? detail : munge_strerror(error);
  const bool no_daemon = error == EMUNGE_SOCKET || error == EMUNGE_TIMEOUT;
  fail("munge: {}: {}{}", what, reason, no_daemon ? "; is munged running?" : "");
}

MungeContext open_munge(const std::string& socket) {
  MungeContext context(munge_ctx_create());
  if (!context) fail("munge: out of memory");
  if (!socket.empty()) {
    const munge_err_t error = munge_ctx_set(context.get(), MUNGE_OPT_SOCKET, socket.c_str());
    if (error != EMUNGE_SUCCESS) fail_munge(context.get(), error, "socket cannot be set");
  }
  return context;
}

// Lower-case hexadecimal SHA-256. Bodies are signed by digest: a credential must fit into one HTTP header
// line.
std::string sha256(std::string_view text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  if (EVP_Digest(text.data(), text.size(), digest, &length, EVP_sha256(), nullptr) != 1)
    fail("SHA-256 failed");
  return fmt::format("{:02x}", fmt::join(digest, digest + length, ""));
}

// For each of several addresses: a host that is down must not use up the caller's patience.
constexpr std::chrono::milliseconds kConnectTimeout{2'000};

std::vector<HostPort> split_address(const std::string& address) {
  try {
    return parse_addresses(address);
  } catch (const Error& error) {
    fail("stintd's address: {}", error.what());
  }
}

void check_path(const std::string& path) {
  const bool plain = !path.empty() && path.front() == '/' &&
                     std::all_of(path.begin(), path.end(), [](char c) { return c > ' ' && c < 0x7F; });
  if (!plain) fail("'{}' is no path of a request", path);
}

// Throws unless the reply's credential is a server's, over this request, status and body.
void verify_reply(const httplib::Response& reply, const Munge& munge, const std::string& request_credential,
                  const std::vector<std::uint32_t>& server_uids, const std::string& address) {
  if (!reply.has_header(kCredentialHeader)) {
    fail("stintd at {}: its reply (status {}) is not signed; is that stintd?", address, reply.status);
  }
  const Munge::Opened opened = munge.decode(reply.get_header_value(kCredentialHeader));
  if (std::find(server_uids.begin(), server_uids.end(), opened.uid) == server_uids.end()) {
    fail("stintd at {}: its reply is signed by uid {}, not by the configured user", address, opened.uid);
  }
  if (opened.payload != reply_payload(request_credential, reply.status, reply.body)) {
    fail("stintd at {}: its reply was changed on the way", address);
  }
}

bool nobody_there(httplib::Error error) {
  return error == httplib::Error::Connection || error == httplib::Error::ConnectionTimeout;
}

// What was sent may have been done: only where nobody took the connection, the next is asked.
httplib::Result send(const httplib::Request& request, const std::vector<HostPort>& targets,
                     std::chrono::milliseconds timeout) {
  for (std::size_t i = 0;; ++i) {
    const bool last = i + 1 == targets.size();
    httplib::Client client(targets[i].host, targets[i].port);
    client.set_connection_timeout(targets.size() == 1 ? timeout : std::min(timeout, kConnectTimeout));
    client.set_read_timeout(timeout);
    client.set_write_timeout(timeout);
    client.set_url_encode(false);
    httplib::Result result = client.send(request);
    if (result || last || !nobody_there(result.error())) return result;
  }
}

}  // namespace

std::string Munge::encode(std::string_view payload) const {
  const MungeContext context = open_munge(socket_);
  char* text = nullptr;
  const munge_err_t error =
      munge_encode(&text, context.get(), payload.data(), static_cast<int>(payload.size()));
  const std::unique_ptr<char, Free> owner(text);
  if (error != EMUNGE_SUCCESS) fail_munge(context.get(), error, "cannot sign");
  return text;
}

Munge::Opened Munge::decode(const std::string& credential) const {
  const MungeContext context = open_munge(socket_);
  void* payload = nullptr;
  int length = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  const munge_err_t error = munge_decode(credential.c_str(), context.get(), &payload, &length, &uid, &gid);
  const std::unique_ptr<void, Free> owner(payload);
  if (error != EMUNGE_SUCCESS) fail_munge(context.get(), error, with_owner(error, uid, "credential refused"));
  Opened opened;
  if (payload) opened.payload.assign(static_cast<const char*>(payload), static_cast<std::size_t>(length));
  opened.uid = uid;
  opened.gid = gid;
  return opened;
}

HttpClient::HttpClient(std::string address, Munge munge, std::vector<std::uint32_t> server_uids,
                       std::chrono::milliseconds timeout)
    : address_(std::move(address)),
      munge_(std::move(munge)),
      server_uids_(std::move(server_uids)),
      timeout_(timeout) {}

HttpReply HttpClient::call(const std::string& method, const std::string& path,
                           const nlohmann::json& body) const {
  check_path(path);
  const std::vector<HostPort> targets = split_address(address_);
  httplib::Request request;
  request.method = method;
  request.path = path;
  if (!body.is_null() && !body.empty()) {
    request.body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    request.set_header("Content-Type", "application/json");
  }
  const std::string credential = munge_.encode(request_payload(method, path, request.body));
  request.set_header(kCredentialHeader, credential);

  const httplib::Result result = send(request, targets, timeout_);
  if (!result) {
    fail("stintd at {}: no answer ({}); is stintd running there?", address_,
         httplib::to_string(result.error()));
  }
  verify_reply(*result, munge_, credential, server_uids_, address_);
  HttpReply reply{result->status, nlohmann::json::parse(result->body, nullptr, false)};
  if (reply.body.is_discarded()) {
    if (!result->body.empty()) fail("stintd at {}: its reply is not JSON", address_);
    reply.body = nullptr;
  }
  return reply;
}

std::string request_payload(std::string_view method, std::string_view path, std::string_view body) {
  return fmt::format("stint request {} {}\n{}", method, path, sha256(body));
}

std::string reply_payload(std::string_view request_credential, int status, std::string_view body) {
  return fmt::format("stint reply {} {}\n{}", sha256(request_credential), status, sha256(body));
}

}  // namespace stint
