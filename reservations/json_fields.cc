// SPDX-License-Identifier: Apache-2.0
#include "reservations/json_fields.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace stint::reservations {
namespace {

constexpr std::size_t kMaxNames = 1'000;
constexpr std::int64_t kLeastSeconds = 60;  // of a duration

}  // namespace

JsonFields::JsonFields(std::string subject, const nlohmann::json& body)
    : subject_(std::move(subject)), body_(body) {
  if (!body.is_object()) fail("{}: the request must be a JSON object", subject_);
}

const nlohmann::json* JsonFields::find(const std::string& field) {
  known_.insert(field);
  const auto found = body_.find(field);
  return found == body_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<std::int64_t> JsonFields::whole_number(const std::string& field, const std::string& name,
                                                     std::int64_t min, std::int64_t max) {
  const auto* value = find(field);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer()) fail("{}: {} must be a whole number", subject_, name);
  const bool too_large =
      value->is_number_unsigned() && value->get<std::uint64_t>() > static_cast<std::uint64_t>(max);
  const auto number = value->get<std::int64_t>();
  if (too_large || number < min || number > max) fail("{}: {} must be {} to {}", subject_, name, min, max);
  return number;
}

std::optional<std::int64_t> JsonFields::integer(const std::string& field, std::int64_t min,
                                                std::int64_t max) {
  return whole_number(field, field, min, max);
}

std::optional<std::chrono::seconds> JsonFields::duration(const std::string& field, std::chrono::seconds max) {
  const auto number = whole_number(field, field + " in seconds", 0, max.count());
  if (!number) return std::nullopt;
  if (*number < kLeastSeconds) fail("{}: {} must be at least a minute", subject_, field);
  return std::chrono::seconds{*number};
}

std::optional<std::string> JsonFields::text(const std::string& field) {
  const auto* value = find(field);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) fail("{}: {} must be a text", subject_, field);
  return value->get<std::string>();
}

std::optional<bool> JsonFields::flag(const std::string& field) {
  const auto* value = find(field);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) fail("{}: {} must be true or false", subject_, field);
  return value->get<bool>();
}

std::optional<std::vector<std::string>> JsonFields::names(const std::string& field) {
  const auto* value = find(field);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array() || value->size() > kMaxNames)
    fail("{}: {} must be a list of at most {} names", subject_, field, kMaxNames);
  std::vector<std::string> names;
  for (const auto& name : *value) {
    const std::string text(name.is_string() ? trim(name.get_ref<const std::string&>()) : std::string_view{});
    if (text.empty()) fail("{}: {} holds an empty name", subject_, field);
    if (std::find(names.begin(), names.end(), text) == names.end()) names.push_back(text);
  }
  return names;
}

std::optional<std::map<std::string, std::string>> JsonFields::texts(const std::string& field) {
  const auto* value = find(field);
  if (value == nullptr) return std::nullopt;
  const bool all_texts =
      std::all_of(value->begin(), value->end(), [](const nlohmann::json& text) { return text.is_string(); });
  if (!value->is_object() || !all_texts) fail("{}: {} must be an object of texts", subject_, field);
  return value->get<std::map<std::string, std::string>>();
}

void JsonFields::refuse_others() const {
  for (const auto& [field, value] : body_.items()) {
    if (!known_.contains(field)) fail("{}: unknown field '{}'", subject_, field.substr(0, 80));
  }
}

}  // namespace stint::reservations
