// SPDX-License-Identifier: Apache-2.0
// job_submit_stint.so: the authority at submit and at modify, inside slurmctld. Translates between Slurm's
// job description and plan_job.h; decides nothing itself. Every hook passes through guard(): no exception, no
// exit, no RPC, no lock of Slurm's, and a job that uses none of our options is not touched.
// The plan table is read from <StateSaveLocation>/stint_plans.ini, or from $STINT_PLAN_TABLE (tests).
#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>

#include <cstdlib>
#include <exception>

#include "base/contract.h"
#include "base/error.h"
#include "spank/plan_job.h"
#include "spank/plan_table_cache.h"
#include "spank/slurm_host.h"

#define STINT_ABI extern "C" __attribute__((visibility("default")))

STINT_ABI const char plugin_name[];
STINT_ABI const char plugin_type[];
STINT_ABI const std::uint32_t plugin_version;
const char plugin_name[] = "Stint training plans";
const char plugin_type[] = "job_submit/stint";
const std::uint32_t plugin_version = SLURM_VERSION_NUMBER;

namespace stint::spank {
namespace {

PlanTableCache& plan_tables() {
  static PlanTableCache cache;
  return cache;
}

std::string plan_table_path() {
  if (const char* path = std::getenv("STINT_PLAN_TABLE"); path && *path) return path;
  if (!slurm_conf.state_save_location) fail("slurm.conf: StateSaveLocation is not set");
  return std::string(slurm_conf.state_save_location) + "/" + contract::kPlanTableFile;
}

sys_seconds now() {
  return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
}

std::string text_of(const char* text) {
  return text ? text : "";
}

std::optional<std::uint32_t> count_of(std::uint32_t value) {
  if (value == NO_VAL || value == 0) return std::nullopt;
  return value;
}

// An unlimited wish is no wish: the segment sets the limit.
std::optional<minutes> minutes_of(std::uint32_t value) {
  if (value == NO_VAL || value == INFINITE || value == 0) return std::nullopt;
  return minutes(value);
}

std::uint32_t owner_of(const job_desc_msg_t& job, std::uint32_t submit_uid) {
  return job.user_id == NO_VAL ? submit_uid : job.user_id;
}

JobRequest request_of(const job_desc_msg_t& job, JobEnvironment environment, std::uint32_t submit_uid) {
  JobRequest request;
  request.uid = owner_of(job, submit_uid);
  request.min_nodes = count_of(job.min_nodes);
  request.max_nodes = count_of(job.max_nodes);
  request.tasks = count_of(job.num_tasks);
  request.time_limit = minutes_of(job.time_limit);
  request.time_min = minutes_of(job.time_min);
  if (job.begin_time > 0) request.begin_time = sys_seconds(std::chrono::seconds(job.begin_time));
  request.reservation = text_of(job.reservation);
  request.partition = text_of(job.partition);
  request.account = text_of(job.account);
  request.qos = text_of(job.qos);
  request.required_nodes = text_of(job.req_nodes);
  request.gres = text_of(job.tres_per_node);
  request.gpus_per_job = text_of(job.tres_per_job);
  request.gpus_per_task = text_of(job.tres_per_task);
  request.gpus_per_socket = text_of(job.tres_per_socket);
  request.interactive = !job.script;
  request.heterogeneous = job.het_job_offset != NO_VAL;
  request.own_signal = job.warn_signal != 0;
  request.lost_recipe = !environment.recipe.empty() && job.environment && job.env_size > 0 &&
                        !has_variable(job.environment, job.env_size, contract::kRecipeEnv);
  request.environment = std::move(environment);
  return request;
}

void set_text(char*& field, const std::string& text) {
  if (text.empty()) return;
  slurm_xfree(reinterpret_cast<void**>(&field));
  field = slurm_xstrdup(text.c_str());
}

// "gpu:8,nic:1" as sbatch itself writes it: "gres:gpu:8,gres:nic:1" ("gres/" from 23.11 on).
std::string tres_of(const std::string& gres) {
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(23, 11, 0)
  const std::string prefix = "gres/";
#else
  const std::string prefix = "gres:";
#endif
  std::string tres = gres.empty() ? "" : prefix;
  for (const char c : gres) {
    tres += c;
    if (c == ',') tres += prefix;
  }
  return tres;
}

void apply(const JobChanges& changes, job_desc_msg_t& job) {
  if (changes.min_nodes) job.min_nodes = *changes.min_nodes;
  if (changes.max_nodes) job.max_nodes = *changes.max_nodes;
  if (changes.time_limit) job.time_limit = static_cast<std::uint32_t>(changes.time_limit->count());
  set_text(job.reservation, changes.reservation);
  set_text(job.partition, changes.partition);
  set_text(job.tres_per_node, tres_of(changes.gres));
  set_text(job.admin_comment, changes.admin_comment);
  set_text(job.clusters,
           text_of(slurm_conf.cluster_name));  // no sibling in a federation: it has not our nodes
  job.shared = JOB_SHARED_NONE;
  if (job.requeue == NO_VAL16) job.requeue = 1;
  job.open_mode = OPEN_MODE_APPEND;
}

void tell(char** err_msg, const std::string& line) {
  if (!err_msg) return;
  const std::string before = *err_msg ? std::string(*err_msg) + "\n" : "";
  slurm_xfree(reinterpret_cast<void**>(err_msg));
  *err_msg = slurm_xstrdup((before + "stint: " + line).c_str());
}

int code_of(Cause cause) {
  switch (cause) {
    case Cause::kPlan:
    case Cause::kReservation:
      return ESLURM_RESERVATION_ACCESS;
    case Cause::kPartition:
      return ESLURM_INVALID_PARTITION_NAME;
    case Cause::kNodes:
      return ESLURM_INVALID_NODE_COUNT;
    case Cause::kGres:
      return ESLURM_INVALID_GRES;
    case Cause::kTime:
      return ESLURM_INVALID_TIME_LIMIT;
    case Cause::kOther:
      return ESLURM_NOT_SUPPORTED;
  }
  return SLURM_ERROR;
}

int refuse(const Refusal& refusal, char** err_msg, std::uint32_t uid) {
  slurm_info("stint: refused uid %u: %s", uid, refusal.message.c_str());
  tell(err_msg, refusal.message);
  return code_of(refusal.cause);
}

bool is_operator(std::uint32_t uid) {
  return uid == 0 || uid == slurm_conf.slurm_user_id || (validate_operator && validate_operator(uid));
}

// A plan's reservation that is named by itself is the plan, with all that this means.
std::string plan_of_reservation(const char* reservation) {
  const auto table = plan_tables().last_known(plan_table_path());
  const PlanRow* plan = table ? table->holder(reservation) : nullptr;
  return plan ? plan->name : "";
}

int submit(job_desc_msg_t& job, std::uint32_t uid, char** err_msg) {
  JobEnvironment environment = parse_job_environment(job.spank_job_env, job.spank_job_env_size);
  if (environment.plan.empty() && job.reservation && !is_operator(uid))
    environment.plan = plan_of_reservation(job.reservation);
  if (!environment.ours()) return SLURM_SUCCESS;
  const JobRequest request = request_of(job, std::move(environment), uid);
  const Decision decision = request.environment.plan.empty()
                                ? decide_recipe_job(request)
                                : decide_plan_job(request, *plan_tables().read(plan_table_path()), now());
  if (const Refusal* refusal = std::get_if<Refusal>(&decision)) return refuse(*refusal, err_msg, request.uid);
  const JobChanges& changes = std::get<JobChanges>(decision);
  apply(changes, job);
  if (!changes.note.empty()) tell(err_msg, changes.note);
  return SLURM_SUCCESS;
}

// The admin_comment of slurmctld's record of a job; none where the record is not what we know.
std::optional<std::string> admin_comment_of(const void* record) {
  if constexpr (SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(26, 11, 0)) return std::nullopt;
  const auto* head = static_cast<const JobRecordHead*>(record);
  if (!head || head->magic != kJobMagic) return std::nullopt;
  return text_of(head->admin_comment);
}

int modify(job_desc_msg_t& job, const void* record, std::uint32_t uid, char** err_msg) {
  if (!job.reservation || is_operator(uid)) return SLURM_SUCCESS;
  const auto table = plan_tables().last_known(plan_table_path());
  if (!table) return SLURM_SUCCESS;
  const auto refusal = check_move(uid, admin_comment_of(record), job.reservation, *table, now());
  return refusal ? refuse(*refusal, err_msg, uid) : SLURM_SUCCESS;
}

// The one way in from Slurm: what goes wrong refuses this job with its reason and harms nothing else.
template <typename Hook>
int guard(char** err_msg, Hook&& hook) noexcept {
  try {
    return hook();
  } catch (const std::exception& error) {
    slurm_info("stint: %s", error.what());
    try {
      tell(err_msg, error.what());
    } catch (...) {
    }
  } catch (...) {
    slurm_info("stint: unknown failure");
  }
  return SLURM_ERROR;
}

}  // namespace
}  // namespace stint::spank

STINT_ABI int init(void) {
  slurm_info("stint: plan table is %s/%s", slurm_conf.state_save_location, stint::contract::kPlanTableFile);
  return SLURM_SUCCESS;
}

STINT_ABI int fini(void) {
  return SLURM_SUCCESS;
}

STINT_ABI int job_submit(job_desc_msg_t* job, std::uint32_t submit_uid, char** err_msg) {
  return stint::spank::guard(err_msg, [&] { return stint::spank::submit(*job, submit_uid, err_msg); });
}

#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(23, 2, 0)
STINT_ABI int job_modify(job_desc_msg_t* job, void* record, std::uint32_t submit_uid, char** err_msg) {
  return stint::spank::guard(err_msg,
                             [&] { return stint::spank::modify(*job, record, submit_uid, err_msg); });
}
#else
STINT_ABI int job_modify(job_desc_msg_t* job, void* record, std::uint32_t submit_uid) {
  return stint::spank::guard(nullptr,
                             [&] { return stint::spank::modify(*job, record, submit_uid, nullptr); });
}
#endif
