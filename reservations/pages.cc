// SPDX-License-Identifier: Apache-2.0
#include "reservations/pages.h"

#include "base/text.h"
#include "reservations/calendar.h"
#include "reservations/refusal.h"

namespace stint::reservations {

using std::chrono::seconds;
using std::chrono::sys_seconds;

Pages::Pages(const Book& book, const Lookout& lookout, Now now)
    : book_(book), lookout_(lookout), now_(std::move(now)) {}

sys_seconds Pages::now() const {
  return sys_seconds{seconds{static_cast<std::int64_t>(now_())}};
}

Page Pages::calendar(const std::string& span) const {
  const auto sight = lookout_.sight();
  return {200, calendar_page({book_.list(), *sight, now(), span, sight->private_plans})};
}

Page Pages::plan(const std::string& name) const {
  const auto sight = lookout_.sight();
  if (sight->private_plans) {
    return {404,
            message_page("Plans are private here",
                         "Slurm's PrivateData hides them; 'stint plan show' shows you your own.", now())};
  }
  try {
    if (!valid_name(name)) refuse(404, "there is no plan of that name");
    const auto plan = book_.show(name);
    return {200, plan_page(plan, book_.history(name), *sight, now())};
  } catch (const Refusal& refusal) {
    return {refusal.status(), message_page("No such plan", refusal.what(), now())};
  }
}

}  // namespace stint::reservations
