// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/exchange.h"

#include <array>

namespace stint::engine {

comm::Status exchange(comm::Communicator& communicator, const Outcome& mine, std::vector<Outcome>& all) {
  struct Record {
    std::int32_t kind;
    std::array<char, kMaxText> text;
  };
  std::vector<Record> records(static_cast<std::size_t>(communicator.size()));
  auto& own = records[static_cast<std::size_t>(communicator.rank())];
  own.kind = mine.kind;
  mine.text.copy(own.text.data(), own.text.size() - 1);
  if (auto status = exchange(communicator, records); !status) return status;
  all.clear();
  for (const auto& record : records)
    all.push_back({static_cast<Outcome::Kind>(record.kind), record.text.data()});
  return {};
}

void throw_first_error(const std::vector<Outcome>& all) {
  for (const auto& [kind, text] : all) {
    if (kind == Outcome::kFinal) throw FinalError(text);
    if (kind == Outcome::kError) throw Error(text);
  }
}

}  // namespace stint::engine
