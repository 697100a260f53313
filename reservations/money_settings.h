// SPDX-License-Identifier: Apache-2.0
// The sections of stint.conf about money: [price], [price NAME], [discount NAME], [refund], [budget] and
// [budget ACCOUNT]. Every message names file, line and key.
#pragma once

#include "base/ini.h"
#include "reservations/budget.h"
#include "reservations/refund.h"
#include "reservations/tariff.h"

namespace stint::reservations {

struct MoneyRules {
  PriceRules prices;
  RefundRule refund;
  BudgetRules budgets;
  bool operator==(const MoneyRules&) const = default;
};

// Other sections are not looked at. The keys themselves are known to be legal (load_config).
MoneyRules read_money_rules(const IniFile& file);

}  // namespace stint::reservations
