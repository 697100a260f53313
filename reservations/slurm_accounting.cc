// SPDX-License-Identifier: Apache-2.0
#include "reservations/slurm_accounting.h"

#include <slurm/slurm.h>
#include <slurm/slurmdb.h>

#include <algorithm>
#include <map>
#include <type_traits>

#include "base/ini.h"
#include "reservations/slurm_calls.h"
#include "reservations/users.h"

namespace stint::reservations {
namespace {

using std::chrono::minutes;

using AssociationMessage = Owned<assoc_mgr_info_msg_t, slurm_free_assoc_mgr_info_msg>;
using OwnedList = Owned<std::remove_pointer_t<List>, slurm_list_destroy>;

// Of <slurm.h>'s accounting_storage_enforce, whose bits it does not name.
constexpr std::uint16_t kEnforceLimits = 0x2;
// Of a job whose association names none.
constexpr char kUsualQos[] = "normal";

// A list of names for Slurm, which neither changes nor keeps them.
OwnedList list_of(std::vector<std::string>& names) {
  OwnedList list(slurm_list_create(nullptr));
  for (auto& name : names) slurm_list_append(list.get(), name.data());
  return list;
}

AssociationMessage load(std::uint32_t flags, List users, List accounts, const std::string& what) {
  assoc_mgr_info_request_msg_t request{};
  request.flags = flags;
  request.user_list = users;
  request.acct_list = accounts;
  assoc_mgr_info_msg_t* loaded = nullptr;
  check(slurm_load_assoc_mgr_info(&request, &loaded), "slurmctld: " + what);
  return AssociationMessage(loaded);
}

void add_once(std::vector<std::string>& names, const std::string& name, bool in_front = false) {
  if (std::find(names.begin(), names.end(), name) == names.end())
    names.insert(in_front ? names.begin() : names.end(), name);
}

std::optional<minutes> wall_of(std::uint32_t value) {
  if (value == INFINITE || value == NO_VAL) return std::nullopt;
  return minutes{std::max<std::uint32_t>(value, 1)};
}

// Slurm's own rule: the association's default, else its only one, else the usual one.
std::string default_qos(const slurmdb_assoc_rec_t& association,
                        const std::map<std::uint32_t, std::string>& names) {
  if (const auto named = names.find(association.def_qos_id); named != names.end()) return named->second;
  std::vector<std::string> ids;
  for_each<char>(association.qos_list, [&](const char& id) { ids.emplace_back(&id); });
  if (ids.size() != 1) return kUsualQos;
  for (const auto& [id, name] : names) {
    if (std::to_string(id) == ids.front()) return name;
  }
  return kUsualQos;
}

// Without the associations of which no job is bounded. Those of one user and account stay together: the one
// for a partition stands in for the one for all.
void keep_what_matters(WallLimits& limits) {
  const auto bounds = [&](const WallLimits::Association& one) {
    return one.max_wall || std::any_of(limits.qos.begin(), limits.qos.end(),
                                       [&](const WallLimits::Qos& qos) { return qos.name == one.qos; });
  };
  const auto all = limits.associations;
  std::erase_if(limits.associations, [&](const WallLimits::Association& one) {
    return std::none_of(all.begin(), all.end(), [&](const WallLimits::Association& other) {
      return other.uid == one.uid && other.account == one.account && bounds(other);
    });
  });
}

}  // namespace

AccountingUser accounting_user(std::uint32_t uid) {
  const std::string name = user_of_uid(uid);
  std::vector<std::string> names{name};
  const OwnedList users = list_of(names);
  const auto message = load(ASSOC_MGR_INFO_FLAG_ASSOC | ASSOC_MGR_INFO_FLAG_USERS, users.get(), nullptr,
                            "accounts of " + name);
  AccountingUser found;
  for_each<slurmdb_user_rec_t>(message->user_list, [&](const slurmdb_user_rec_t& user) {
    if (text_of(user.name) != name) return;
    if (user.admin_level >= SLURMDB_ADMIN_OPERATOR) found.is_operator = true;
    for_each<slurmdb_coord_rec_t>(user.coord_accts, [&](const slurmdb_coord_rec_t& one) {
      add_once(found.coordinates, text_of(one.name));
    });
  });
  for_each<slurmdb_assoc_rec_t>(message->assoc_list, [&](const slurmdb_assoc_rec_t& association) {
    const auto account = text_of(association.acct);
    if (text_of(association.user) == name && !account.empty())
      add_once(found.accounts, account, association.is_def == 1);
  });
  return found;
}

// Slurm lets users of the accounts below an account into its reservations too.
Cluster::Members accounting_members(const std::vector<std::string>& accounts) {
  if (accounts.empty()) return {};
  const auto message = load(ASSOC_MGR_INFO_FLAG_ASSOC, nullptr, nullptr, "members of accounts");
  std::map<std::string, std::vector<std::string>> below;
  Cluster::Members users;
  for_each<slurmdb_assoc_rec_t>(message->assoc_list, [&](const slurmdb_assoc_rec_t& association) {
    const auto account = text_of(association.acct);
    auto& own = users[account];
    if (association.user != nullptr) {
      add_once(own, text_of(association.user));
    } else {  // the account itself
      below[text_of(association.parent_acct)].push_back(account);
    }
  });
  Cluster::Members members;
  for (const auto& account : accounts) {
    if (!users.contains(account)) continue;
    std::vector<std::string> tree{account};
    for (std::size_t i = 0; i < tree.size(); ++i) {
      for (const auto& child : below[tree[i]]) add_once(tree, child);
      for (const auto& user : users[tree[i]]) add_once(members[account], user);
    }
    members[account];  // also where it has no users
  }
  return members;
}

bool enforces_limits(std::uint16_t accounting_storage_enforce) {
  return (accounting_storage_enforce & kEnforceLimits) != 0;
}

WallLimits accounting_limits(const std::vector<std::string>& users) {
  auto names = users;
  const OwnedList wanted = list_of(names);
  const auto message = load(ASSOC_MGR_INFO_FLAG_ASSOC | ASSOC_MGR_INFO_FLAG_QOS, wanted.get(), nullptr,
                            "time limits of accounts and QOS");
  WallLimits limits;
  std::map<std::uint32_t, std::string> qos_names;
  for_each<slurmdb_qos_rec_t>(message->qos_list, [&](const slurmdb_qos_rec_t& qos) {
    const auto name = text_of(qos.name);
    if (!ini_value_problem(name).empty()) return;  // it could not be told to the plugin
    qos_names[qos.id] = name;
    const WallLimits::Qos one{name, wall_of(qos.max_wall_pj), (qos.flags & QOS_FLAG_OVER_PART_QOS) != 0,
                              (qos.flags & QOS_FLAG_PART_TIME_LIMIT) != 0};
    if (one.max_wall || one.over_max_time) limits.qos.push_back(one);
  });
  for_each<slurmdb_assoc_rec_t>(message->assoc_list, [&](const slurmdb_assoc_rec_t& association) {
    const bool is_users = association.user != nullptr && association.uid != NO_VAL;
    if (!is_users || !ini_value_problem(text_of(association.acct)).empty()) return;
    limits.associations.push_back({association.uid, text_of(association.acct), text_of(association.partition),
                                   association.is_def == 1, default_qos(association, qos_names),
                                   wall_of(association.max_wall_pj)});
  });
  keep_what_matters(limits);
  return limits;
}

}  // namespace stint::reservations
