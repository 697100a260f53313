// SPDX-License-Identifier: Apache-2.0
// The fields of a request's JSON object, checked one by one. Every Error begins with the subject ("plan
// demo") and names the field. A field that is null counts as missing.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace stint::reservations {

class JsonFields {
 public:
  JsonFields(std::string subject, const nlohmann::json& body);

  void set_subject(std::string subject) { subject_ = std::move(subject); }

  std::optional<std::int64_t> integer(const std::string& field, std::int64_t min, std::int64_t max);
  // In seconds; at least a minute.
  std::optional<std::chrono::seconds> duration(const std::string& field, std::chrono::seconds max);
  std::optional<std::string> text(const std::string& field);
  std::optional<bool> flag(const std::string& field);
  // Non-empty names, each once, in the order given; at most 1,000.
  std::optional<std::vector<std::string>> names(const std::string& field);

  // {"key": "text", …}
  std::optional<std::map<std::string, std::string>> texts(const std::string& field);

  // Refuses what none of the calls above has asked for.
  void refuse_others() const;

 private:
  const nlohmann::json* find(const std::string& field);
  std::optional<std::int64_t> whole_number(const std::string& field, const std::string& name,
                                           std::int64_t min, std::int64_t max);

  std::string subject_;
  const nlohmann::json& body_;
  std::set<std::string> known_;
};

}  // namespace stint::reservations
