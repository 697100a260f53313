// SPDX-License-Identifier: Apache-2.0
// Munge-signed HTTP with JSON bodies: the only way the command line, the agents and stintd speak.
// A request carries a credential over "METHOD path\nbody", a reply one over the request's credential digest,
// the status and the body, so each side knows the other's uid and that nothing was changed or replayed.
// Blocking; safe from several threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace stint {

inline constexpr char kCredentialHeader[] = "Stint-Credential";

// Munge with an explicit socket (empty: munge's default).
class Munge {
 public:
  explicit Munge(std::string socket = {}) : socket_(std::move(socket)) {}

  std::string encode(std::string_view payload) const;  // throws Error: "munge: …; is munged running?"
  struct Opened {
    std::string payload;
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
  };
  // Throws Error on an expired, replayed or forged credential.
  Opened decode(const std::string& credential) const;

 private:
  std::string socket_;
};

struct HttpReply {
  int status = 0;
  nlohmann::json body;
};

class HttpClient {
 public:
  // address: "host:port[,host:port…]", tried in order until one takes the connection: of several stintds only
  // the one beside the slurmctld in control listens. server_uids: the uids a reply may be signed by
  // (SlurmUser, root).
  HttpClient(std::string address, Munge munge, std::vector<std::uint32_t> server_uids,
             std::chrono::milliseconds timeout);

  // Throws Error when stintd cannot be reached, answers too late or its reply is not signed by a server uid;
  // a status of 400 or more is returned, with {"error": "…"} as its body.
  HttpReply call(const std::string& method, const std::string& path, const nlohmann::json& body = {}) const;

 private:
  std::string address_;
  Munge munge_;
  std::vector<std::uint32_t> server_uids_;
  std::chrono::milliseconds timeout_;
};

// What is signed; shared by client and server. Bodies enter by their SHA-256, so a credential stays below the
// 8 KiB that cpp-httplib takes for a header line. `path` is the request target as sent (httplib: req.target).
std::string request_payload(std::string_view method, std::string_view path, std::string_view body);
std::string reply_payload(std::string_view request_credential, int status, std::string_view body);

}  // namespace stint
