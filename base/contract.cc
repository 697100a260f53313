// SPDX-License-Identifier: Apache-2.0
#include "base/contract.h"

#include <fmt/format.h>

#include "base/text.h"

namespace stint::contract {

std::string format_job_tag(const JobTag& tag) {
  std::string text = "stint";
  if (!tag.plan.empty()) text += " plan=" + tag.plan;
  if (!tag.recipe.empty()) text += " recipe=" + tag.recipe;
  return text;
}

JobTag parse_job_tag(const std::string& admin_comment) {
  const std::vector<std::string> words = split(admin_comment, ' ');
  JobTag tag;
  if (words.empty() || words.front() != "stint") return tag;
  for (const std::string& word : words) {
    if (word.starts_with("plan=")) tag.plan = word.substr(5);
    if (word.starts_with("recipe=")) tag.recipe = word.substr(7);
  }
  return tag;
}

std::string reservation_name(const std::string& plan, int segment) {
  return fmt::format("{}.{}", plan, segment);
}

}  // namespace stint::contract
