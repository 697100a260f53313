// SPDX-License-Identifier: Apache-2.0
#include "reservations/tags.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "reservations/json_fields.h"

namespace stint::reservations {
namespace {

constexpr std::size_t kMostTags = 50;
constexpr std::size_t kLongestKey = 63;
constexpr std::size_t kLongestValue = 127;
constexpr std::size_t kLongestQuote = 80;  // of a wrong one, in a message
constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
constexpr std::string_view kDigits = "0123456789";

bool consists_of(std::string_view text, std::string_view others) {
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return kLetters.find(c) != text.npos || kDigits.find(c) != text.npos || others.find(c) != text.npos;
  });
}

bool is_key(std::string_view text) {
  return !text.empty() && text.size() <= kLongestKey && kLetters.find(text.front()) != text.npos &&
         consists_of(text, "_.-/");
}

bool is_value(std::string_view text) {
  return !text.empty() && text.size() <= kLongestValue && consists_of(text.substr(0, 1), "") &&
         consists_of(text, "_.-/:@+");
}

void check_tag(const std::string& subject, std::string_view key, std::string_view value) {
  check_tag_key(subject, key);
  if (is_value(value)) return;
  fail("{}: '{}' is no value of tag '{}'; begin with a letter or digit, then also '_.-/:@+', at most {}",
       subject, value.substr(0, kLongestQuote), key, kLongestValue);
}

}  // namespace

void check_tag_key(const std::string& subject, std::string_view key) {
  if (is_key(key)) return;
  fail(
      "{}: '{}' is no tag's key; begin with a letter, then letters, digits, '_', '.', '-' or '/', at most {}",
      subject, key.substr(0, kLongestQuote), kLongestKey);
}

void check_tags(const std::string& subject, const Tags& tags) {
  for (const auto& [key, value] : tags) check_tag(subject, key, value);
  if (tags.size() > kMostTags)
    fail("{}: has {} tags, at most {} are allowed", subject, tags.size(), kMostTags);
}

Tags parse_tags(const std::string& subject, const std::vector<std::string>& words) {
  Tags tags;
  for (const auto& word : words) {
    const auto equals = word.find('=');
    if (equals == word.npos)
      fail("{}: '{}' is no tag; write key=value", subject, word.substr(0, kLongestQuote));
    const auto key = word.substr(0, equals);
    if (!tags.emplace(key, word.substr(equals + 1)).second)
      fail("{}: tag '{}' is given twice", subject, key.substr(0, kLongestQuote));
  }
  check_tags(subject, tags);
  return tags;
}

void check_tag_filter(const std::string& subject, std::string_view filter) {
  const auto equals = filter.find('=');
  if (equals == filter.npos) return check_tag_key(subject, filter);
  check_tag(subject, filter.substr(0, equals), filter.substr(equals + 1));
}

bool has_tag(const Tags& tags, std::string_view filter) {
  const auto equals = filter.find('=');
  const auto found = tags.find(std::string(filter.substr(0, equals)));
  return found != tags.end() && (equals == filter.npos || found->second == filter.substr(equals + 1));
}

std::string to_string(const Tags& tags) {
  std::vector<std::string> words;
  for (const auto& [key, value] : tags) words.push_back(key + "=" + value);
  return fmt::format("{}", fmt::join(words, ","));
}

Tags read_tags(std::string_view text) {
  Tags tags;
  if (text.empty()) return tags;
  for (const auto& word : split(text, ',')) {
    const auto equals = word.find('=');
    if (equals != word.npos) tags[word.substr(0, equals)] = word.substr(equals + 1);
  }
  return tags;
}

TagRequest TagRequest::parse(const std::string& plan, const nlohmann::json& body) {
  const std::string subject = "plan " + plan;
  JsonFields fields(subject, body);
  TagRequest request;
  request.set = fields.texts("set").value_or(Tags{});
  request.remove = fields.names("remove").value_or(std::vector<std::string>{});
  fields.refuse_others();
  check_tags(subject, request.set);
  for (const auto& key : request.remove) {
    if (request.set.contains(key)) fail("{}: tag '{}' is to be set and removed", subject, key);
  }
  if (request.set.empty() && request.remove.empty()) fail("{}: name tags to set or to remove", subject);
  return request;
}

}  // namespace stint::reservations
