// SPDX-License-Identifier: Apache-2.0
// Tags: what people write on a plan to find it again and to report by it (project=llm). They mean nothing to
// stintd. Their alphabet needs no quoting in any format, and no spreadsheet takes one for a formula. Pure.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace stint::reservations {

using Tags = std::map<std::string, std::string>;

// These throw Error that begins with the subject.
void check_tag_key(const std::string& subject, std::string_view key);
void check_tags(const std::string& subject, const Tags& tags);  // keys, values and how many
Tags parse_tags(const std::string& subject,
                const std::vector<std::string>& words);                      // of key=value, each key once
void check_tag_filter(const std::string& subject, std::string_view filter);  // key or key=value

bool has_tag(const Tags& tags, std::string_view filter);

std::string to_string(const Tags& tags);  // "project=llm,team=a"
Tags read_tags(std::string_view text);    // what to_string() made

// {set?: {key: value}, remove?: [key]}; parse() throws Error that names the plan.
struct TagRequest {
  Tags set;
  std::vector<std::string> remove;

  static TagRequest parse(const std::string& plan, const nlohmann::json& body);
};

}  // namespace stint::reservations
