// SPDX-License-Identifier: Apache-2.0
// The kinds of keys: how the text of a number, a word, a path or a time becomes a field of Recipe and back.
// `fallback` is the default's text, kRequired or kAtSubmit; `field(recipe)` is where the value stands.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/ini.h"
#include "base/text.h"
#include "recipes/keys.h"

namespace stint::recipes {

inline constexpr std::int64_t kBillion = 1'000'000'000;
inline constexpr std::size_t kMaxText = 4000;
inline constexpr char kRequired[] = "\x01required";
inline constexpr char kAtSubmit[] = "\x01submit";  // required, but not of a catalogue entry

inline KeyInfo info(const char* section, const char* key, const char* type, std::string range,
                    std::string default_value, const char* help) {
  KeyInfo row{section, key, type, std::move(range), {}, help};
  row.given_at_submit = default_value == kAtSubmit;
  row.required = row.given_at_submit || default_value == kRequired;
  if (!row.required) row.default_value = std::move(default_value);
  return row;
}

template <typename Field>
Key integer(const char* section, const char* key, std::int64_t min, std::int64_t max, const char* fallback,
            const char* help, Field field) {
  return {info(section, key, "integer", fmt::format("{} .. {}", min, max), fallback, help),
          [=](Recipe& recipe, std::string_view text) { field(recipe) = parse_integer(text, min, max); },
          [=](const Recipe& recipe) { return fmt::format("{}", field(recipe)); }};
}

template <typename Field>
Key real(const char* section, const char* key, double min, double max, const char* fallback, const char* help,
         Field field) {
  return {info(section, key, "number", fmt::format("{} .. {}", min, max), fallback, help),
          // + 0.0: a negative zero would be another text for the same value.
          [=](Recipe& recipe, std::string_view text) { field(recipe) = parse_real(text, min, max) + 0.0; },
          [=](const Recipe& recipe) { return fmt::format("{}", field(recipe)); }};
}

template <typename Field>
Key boolean(const char* section, const char* key, const char* fallback, const char* help, Field field) {
  return {info(section, key, "yes or no", "", fallback, help),
          [=](Recipe& recipe, std::string_view text) { field(recipe) = parse_bool(text); },
          [=](const Recipe& recipe) { return std::string(field(recipe) ? "yes" : "no"); }};
}

template <typename Field>
Key choice(const char* section, const char* key, std::vector<std::string> words, const char* fallback,
           const char* help, Field field) {
  const std::string range = fmt::format("{}", fmt::join(words, " | "));
  return {info(section, key, "word", range, fallback, help),
          [=](Recipe& recipe, std::string_view text) {
            const std::string word(trim(text));
            if (std::find(words.begin(), words.end(), word) == words.end()) {
              const std::string close = did_you_mean(word, words);
              fail("'{}' is none of {}{}", word.substr(0, 60), range,
                   close.empty() ? "" : fmt::format("; did you mean '{}'?", close));
            }
            field(recipe) = word;
          },
          [=](const Recipe& recipe) { return field(recipe); }};
}

using TextCheck = void (*)(std::string_view);

template <typename Field>
Key text(const char* section, const char* key, const char* range, const char* fallback, const char* help,
         TextCheck check, Field field) {
  return {info(section, key, "text", range, fallback, help),
          [=](Recipe& recipe, std::string_view value) {
            if (const std::string reason = ini_value_problem(value); !reason.empty()) throw Error(reason);
            if (value.size() > kMaxText) fail("longer than {} bytes", kMaxText);
            check(value);
            field(recipe) = std::string(value);
          },
          [=](const Recipe& recipe) { return field(recipe); }};
}

// "100ms" beside the forms of parse_duration; a bare number is refused, as its unit would be a guess.
inline std::chrono::milliseconds parse_milliseconds(std::string_view value) {
  const std::string_view trimmed = trim(value);
  if (trimmed.empty() || trimmed.back() < 'a') {
    fail("'{}' is no duration; write it with its unit: 100ms, 1s, 2m", trimmed.substr(0, 60));
  }
  if (trimmed.ends_with("ms"))
    return std::chrono::milliseconds(parse_integer(trimmed.substr(0, trimmed.size() - 2), 1, kBillion));
  return parse_duration(trimmed);
}

inline std::string format_milliseconds(std::chrono::milliseconds value) {
  if (value.count() % 1000 != 0) return fmt::format("{}ms", value.count());
  return fmt::format("{}s", value.count() / 1000);
}

template <typename Field>
Key span(const char* section, const char* key, std::chrono::milliseconds min, std::chrono::milliseconds max,
         const char* fallback, const char* help, Field field) {
  const std::string range = format_milliseconds(min) + " .. " + format_milliseconds(max);
  return {info(section, key, "duration", range, fallback, help),
          [=](Recipe& recipe, std::string_view value) {
            using Unit = std::remove_reference_t<decltype(field(recipe))>;
            const std::chrono::milliseconds given = parse_milliseconds(value);
            if (given < min || given > max) fail("{} is out of range; it lies in {}", trim(value), range);
            const Unit kept = std::chrono::duration_cast<Unit>(given);
            if (std::chrono::milliseconds(kept) != given)
              fail("{} is no whole number of seconds", trim(value));
            field(recipe) = kept;
          },
          [=](const Recipe& recipe) { return format_milliseconds(field(recipe)); }};
}

}  // namespace stint::recipes
