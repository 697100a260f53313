// SPDX-License-Identifier: Apache-2.0
#include "trainer/topology/assignment.h"

#include <limits>

namespace stint::topology {
namespace {

constexpr int kInfinite = std::numeric_limits<int>::max();
constexpr std::size_t kFree = std::numeric_limits<std::size_t>::max();

// One column is imaginary: it stands for the row that looks for a column.
class Matching {
 public:
  explicit Matching(const std::vector<std::vector<int>>& cost)
      : cost_(cost),
        columns_(cost.empty() ? 0 : cost[0].size()),
        row_potential_(cost.size()),
        column_potential_(columns_ + 1),
        row_of_(columns_ + 1, kFree) {}

  void seat(std::size_t row) {
    row_of_[columns_] = row;
    slack_.assign(columns_, kInfinite);
    came_from_.assign(columns_, columns_);
    reached_.assign(columns_ + 1, false);
    std::size_t at = columns_;
    while (row_of_[at] != kFree) at = reach_next(at);
    while (at != columns_) {
      const std::size_t before = came_from_[at];
      row_of_[at] = row_of_[before];
      at = before;
    }
  }

  std::vector<std::size_t> columns() const {
    std::vector<std::size_t> column_of(cost_.size());
    for (std::size_t column = 0; column < columns_; ++column)
      if (row_of_[column] != kFree) column_of[row_of_[column]] = column;
    return column_of;
  }

 private:
  // Follows the cheapest edge out of what has been reached.
  std::size_t reach_next(std::size_t at) {
    reached_[at] = true;
    const std::size_t row = row_of_[at];
    std::size_t next = columns_;
    int step = kInfinite;
    for (std::size_t column = 0; column < columns_; ++column) {
      if (reached_[column]) continue;
      const int reduced = cost_[row][column] - row_potential_[row] - column_potential_[column];
      if (reduced < slack_[column]) {
        slack_[column] = reduced;
        came_from_[column] = at;
      }
      if (slack_[column] < step) {
        step = slack_[column];
        next = column;
      }
    }
    for (std::size_t column = 0; column <= columns_; ++column) {
      if (reached_[column]) {
        row_potential_[row_of_[column]] += step;
        column_potential_[column] -= step;
      } else {
        slack_[column] -= step;
      }
    }
    return next;
  }

  const std::vector<std::vector<int>>& cost_;
  std::size_t columns_;
  std::vector<int> row_potential_, column_potential_, slack_;
  std::vector<std::size_t> row_of_, came_from_;
  std::vector<bool> reached_;
};

}  // namespace

std::vector<std::size_t> assign(const std::vector<std::vector<int>>& cost) {
  Matching matching(cost);
  for (std::size_t row = 0; row < cost.size(); ++row) matching.seat(row);
  return matching.columns();
}

}  // namespace stint::topology
