// SPDX-License-Identifier: Apache-2.0
// NCCL. A communicator's ranks meet in its clique: collectives in rounds, one after the other, messages in
// queues.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>

#include "tests/unit/comm/nccl_shim/state.h"
#include "trainer/comm/data.h"

namespace stint::comm::nccl_shim {
namespace {

using gpu::CudaStream;
using gpu::NcclComm;
using gpu::NcclResult;
using gpu::NcclType;

std::size_t size_of(NcclType type) {
  return type == NcclType::kInt8 ? 1 : type == NcclType::kBfloat16 ? 2 : 4;
}

enum class Kind { kAllReduce, kReduceScatter, kAllGather, kReduce, kBroadcast, kSend, kReceive };

struct Piece {
  Kind kind;
  const void* source;
  void* target;
  std::size_t count;
  NcclType type;
  int peer;  // or root
};

struct Round {
  std::vector<const Piece*> pieces;  // by rank
  std::size_t come = 0;
  bool done = false;
};

struct Message {
  const Piece* piece;
  bool taken = false;
};

struct Clique {
  std::vector<NcclComm*> members;  // by rank; null: not here yet
  std::size_t come = 0;
  std::map<std::uint64_t, Round> rounds;
  std::map<std::pair<int, int>, std::deque<Message*>> mail;  // from, to

  explicit Clique(std::size_t size) : members(size) {}
};

// One call of split or shrink, by all who take part.
struct Birth {
  std::vector<int> excluded;
  std::map<int, std::pair<int, int>> colors;  // by rank of the parent: color and key
  std::map<int, std::shared_ptr<Clique>> children;
  std::size_t come = 0;
};

}  // namespace
}  // namespace stint::comm::nccl_shim

namespace stint::comm::gpu {

struct NcclComm {
  std::shared_ptr<nccl_shim::Clique> clique;
  int rank = 0, device = 0;
  unsigned generation = 0;  // of reset()
  bool usable = false, revoked = false, finalizing = false, gone = false;
  bool in_progress = false, abort = false;
  int polls = 0;
  std::function<bool()> ready;
  std::function<void()> effect;
  NcclResult error = NcclResult::kSuccess;
  std::string inside;  // the call that a thread is in
  int queued = 0;      // pieces of work that have not ended
  std::uint64_t rounds = 0;
  int births = 0;
  std::shared_ptr<std::map<int, nccl_shim::Birth>> nursery;  // of the whole clique
  CudaStream* waiting = nullptr;                             // for NCCL to put something there
};

}  // namespace stint::comm::gpu

namespace stint::comm::nccl_shim {
namespace {

std::map<std::string, std::shared_ptr<Clique>>& meetings() {
  static auto* const all = new std::map<std::string, std::shared_ptr<Clique>>;
  return *all;
}
std::map<Clique*, std::shared_ptr<std::map<int, Birth>>>& nurseries() {
  static auto* const all = new std::map<Clique*, std::shared_ptr<std::map<int, Birth>>>;
  return *all;
}
std::vector<NcclComm*>& comms() {  // never freed, so that use after destroy is seen
  static auto* const all = new std::vector<NcclComm*>;
  return *all;
}

// A thread inside NCCL. Holds the shim's lock, but for the time that the call takes.
class Call {
 public:
  enum class When { kSettled, kAnyTime };
  Call(NcclComm* comm, const char* name, When when = When::kSettled) : comm_(comm), lock_(shim().mutex) {
    ++shim().calls[name];
    if (comm->gone) broken("use_after_destroy", name);
    if (!comm->inside.empty()) {
      const bool aborting = ends(comm->inside) || ends(name);
      broken(aborting ? "call_while_aborting" : "concurrent_calls",
             fmt::format("{} in {}", name, comm->inside));
    }
    if (comm->in_progress && when == When::kSettled) broken("call_in_progress", name);
    if (comm->device != this_device() && std::string_view(name) != "ncclCommGetAsyncError")
      broken("wrong_device", name);
    comm->inside = name;
    spend_time(name);
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call() { comm_->inside.clear(); }
  Lock& lock() { return lock_; }

 private:
  static bool ends(std::string_view name) { return name == "ncclCommAbort" || name == "ncclCommDestroy"; }
  void spend_time(const char* name) {
    const unsigned generation = shim().generation;
    if (shim().faults.hanging_calls.contains({name, this_device()}))
      shim().changed.wait(lock_, [&] { return shim().generation != generation; });
    if (shim().faults.microseconds == 0) return;
    const auto pause = std::chrono::microseconds(shim().faults.microseconds);
    lock_.unlock();
    std::this_thread::sleep_for(pause);
    lock_.lock();
  }

  NcclComm* comm_;
  Lock lock_;
};

void settle(NcclComm* comm) {
  comm->in_progress = false;
  const auto effect = std::move(comm->effect);
  if (effect) effect();
  shim().changed.notify_all();
}

NcclResult begin(NcclComm* comm, std::function<bool()> ready, std::function<void()> effect) {
  comm->ready = std::move(ready);
  comm->effect = std::move(effect);
  comm->polls = shim().faults.polls;
  comm->in_progress = true;
  if (comm->polls > 0 || !comm->ready()) return NcclResult::kInProgress;
  settle(comm);
  return NcclResult::kSuccess;
}

void give_up(NcclComm* comm) {
  comm->in_progress = false;
  comm->effect = nullptr;
  if (comm->waiting != nullptr) --comm->waiting->not_taken;
  comm->waiting = nullptr;
}

void check_config(const gpu::NcclConfig* config, const char* name) {
  if (config == nullptr || config->blocking != 0 || config->size != sizeof *config ||
      config->magic != 0xcafebeef)
    broken("blocking_communicator", name);
}

// Whether another communicator of the device could still be at work.
void check_all_given_up(const NcclComm* comm, const char* name) {
  for (const NcclComm* other : comms())
    if (other != comm && other->device == comm->device && other->generation == comm->generation &&
        other->usable && !other->gone && !other->revoked && !other->finalizing)
      broken("revoke_all_first", name);
}

NcclComm* make_comm(std::shared_ptr<Clique> clique, int rank, int device) {
  auto* comm = new NcclComm;
  comm->rank = rank;
  comm->device = device;
  comm->generation = shim().generation;
  auto& nursery = nurseries()[clique.get()];
  if (nursery == nullptr) nursery = std::make_shared<std::map<int, Birth>>();
  comm->nursery = nursery;
  clique->members[static_cast<std::size_t>(rank)] = comm;
  ++clique->come;
  comm->clique = std::move(clique);
  comms().push_back(comm);
  return comm;
}

// --- The numbers.

double number_at(const void* data, std::size_t i, NcclType type) {
  if (type == NcclType::kInt8) return static_cast<const std::int8_t*>(data)[i];
  if (type == NcclType::kBfloat16) return to_float(static_cast<const Bf16*>(data)[i]);
  return static_cast<const float*>(data)[i];
}

void put_at(void* data, std::size_t i, NcclType type, double value) {
  if (type == NcclType::kInt8)
    static_cast<std::int8_t*>(data)[i] = static_cast<std::int8_t>(value);
  else if (type == NcclType::kBfloat16)
    static_cast<Bf16*>(data)[i] = to_bf16(static_cast<float>(value));
  else
    static_cast<float*>(data)[i] = static_cast<float>(value);
}

std::byte* at(void* data, std::size_t elements, NcclType type) {
  return static_cast<std::byte*>(data) + elements * size_of(type);
}

// Elements [begin, begin + count) of all sources, added: from the last rank to the first, so that nobody
// relies on another order.
std::vector<double> summed(const Round& round, std::size_t begin, std::size_t count) {
  std::vector<double> sums(count);
  for (std::size_t i = 0; i < count; ++i)
    for (auto piece = round.pieces.rbegin(); piece != round.pieces.rend(); ++piece)
      sums[i] = static_cast<float>(sums[i] + number_at((*piece)->source, begin + i, (*piece)->type));
  return sums;
}

void put_all(const Piece& piece, const std::vector<double>& values) {
  for (std::size_t i = 0; i < values.size(); ++i) put_at(piece.target, i, piece.type, values[i]);
}

void sum_round(const Round& round) {
  const Piece& first = *round.pieces.front();
  const std::size_t ranks = round.pieces.size();
  const bool scattered = first.kind == Kind::kReduceScatter;
  const auto sums = summed(round, 0, scattered ? first.count * ranks : first.count);
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    const Piece& piece = *round.pieces[rank];
    const auto begin = sums.begin() + static_cast<std::ptrdiff_t>(rank * first.count);
    if (scattered) put_all(piece, {begin, begin + static_cast<std::ptrdiff_t>(first.count)});
    if (first.kind == Kind::kAllReduce ||
        (first.kind == Kind::kReduce && first.peer == static_cast<int>(rank)))
      put_all(piece, sums);
  }
}

void copy_round(const Round& round) {
  const Piece& first = *round.pieces.front();
  const std::size_t bytes = first.count * size_of(first.type);
  for (std::size_t from = 0; from < round.pieces.size(); ++from) {
    const bool gathers = first.kind == Kind::kAllGather;
    if (!gathers && first.peer != static_cast<int>(from)) continue;
    for (const Piece* piece : round.pieces) {
      std::byte* target = at(piece->target, gathers ? from * first.count : 0, first.type);
      if (target != round.pieces[from]->source) std::memcpy(target, round.pieces[from]->source, bytes);
    }
  }
}

void finish_round(Round& round) {
  const Piece& first = *round.pieces.front();
  for (const Piece* piece : round.pieces)
    if (piece->kind != first.kind || piece->count != first.count || piece->type != first.type ||
        piece->peer != first.peer)
      broken("mismatched_collective", "the ranks of a communicator");
  if (first.kind == Kind::kAllGather || first.kind == Kind::kBroadcast)
    copy_round(round);
  else
    sum_round(round);
  round.done = true;
  shim().changed.notify_all();
}

// --- The work on a stream. All of these hold the lock and wait without it.

bool given_up(const NcclComm* comm) {
  return comm->abort && !shim().faults.deaf.contains(comm->device);
}

// False: given up.
bool wait_until(NcclComm* comm, Lock& lock, const std::function<bool()>& done) {
  const unsigned generation = shim().generation;
  shim().changed.wait(lock, [&] { return done() || given_up(comm) || shim().generation != generation; });
  return done();
}

void spoil(const Piece& piece) {
  if (piece.kind != Kind::kSend && piece.target != nullptr)
    std::memset(piece.target, 0xff, piece.count * size_of(piece.type));
}

bool meet(NcclComm* comm, const Piece& piece, Lock& lock) {
  const std::uint64_t number = comm->rounds++;
  const std::shared_ptr<Clique> clique = comm->clique;
  Round& round = clique->rounds[number];
  round.pieces.resize(clique->members.size());
  round.pieces[static_cast<std::size_t>(comm->rank)] = &piece;
  if (++round.come == clique->members.size()) finish_round(round);
  if (wait_until(comm, lock, [&] { return round.done; })) return true;
  --round.come;  // so that it never comes together: the numbers may be gone by then
  return false;
}

bool exchange(NcclComm* comm, const std::vector<Piece>& pieces, Lock& lock) {
  const std::shared_ptr<Clique> clique = comm->clique;
  auto& mail = clique->mail;
  std::deque<Message> sent;
  for (const Piece& piece : pieces)
    if (piece.kind == Kind::kSend)
      mail[{comm->rank, piece.peer}].push_back(&sent.emplace_back(Message{&piece}));
  shim().changed.notify_all();
  bool whole = true;
  for (const Piece& piece : pieces) {
    if (piece.kind != Kind::kReceive) continue;
    auto& queue = mail[{piece.peer, comm->rank}];
    whole = whole && wait_until(comm, lock, [&] { return !queue.empty(); });
    if (!whole) break;
    Message& message = *queue.front();
    queue.pop_front();
    if (message.piece->count != piece.count || message.piece->type != piece.type)
      broken("mismatched_collective", "ncclSend and ncclRecv");
    std::memcpy(piece.target, message.piece->source, piece.count * size_of(piece.type));
    message.taken = true;
    shim().changed.notify_all();
  }
  whole = whole && wait_until(comm, lock, [&] { return std::ranges::all_of(sent, &Message::taken); });
  for (const Message& message : sent)  // the memory they lie in ends here
    for (auto& [way, queue] : mail) std::erase(queue, &message);
  return whole;
}

// False: it is to end with garbage, or never by itself.
bool suffer_faults(NcclComm* comm, Lock& lock) {
  Faults& faults = shim().faults;
  const auto due = [](int& left) { return left-- == 0; };
  if (const auto hang = faults.hangs.find(comm->device); hang != faults.hangs.end() && due(hang->second)) {
    wait_until(comm, lock, [] { return false; });
    return false;
  }
  if (const auto report = faults.reports.find(comm->device);
      report != faults.reports.end() && due(report->second.after)) {
    const Faults::Report fault = report->second;
    for (NcclComm* other : comms())
      if (other->device == comm->device) other->error = fault.result;
    if (!fault.ends) wait_until(comm, lock, [] { return false; });
    return false;
  }
  return true;
}

void work(NcclComm* comm, const std::vector<Piece>& pieces, Lock& lock) {
  bool whole = !given_up(comm) && suffer_faults(comm, lock);  // else what waited behind it would meet others
  std::vector<Piece> messages;
  for (const Piece& piece : pieces)
    if (piece.kind == Kind::kSend || piece.kind == Kind::kReceive)
      messages.push_back(piece);
    else
      whole = whole && meet(comm, piece, lock);
  whole = whole && exchange(comm, messages, lock);
  if (!whole) std::ranges::for_each(pieces, spoil);
  --comm->queued;
  --shim().under_way[comm->device];
  shim().changed.notify_all();
}

NcclResult launch(NcclComm* comm, std::vector<Piece> pieces, CudaStream* stream) {
  if (stream->device != comm->device) broken("wrong_device", "a collective");
  if (comm->revoked || comm->finalizing) broken("collective_after_revoke", "a collective");
  if (stream->not_taken > 0) broken("queued_before_taken", "a collective");
  ++stream->not_taken;
  comm->waiting = stream;
  const auto effect = [comm, stream, all = std::make_shared<std::vector<Piece>>(std::move(pieces))] {
    --stream->not_taken;
    comm->waiting = nullptr;
    ++comm->queued;
    ++shim().under_way[comm->device];
    stream->queue([comm, all](Lock& lock) { work(comm, *all, lock); });
  };
  return begin(
      comm, [comm] { return !shim().faults.untaken.contains(comm->device); }, effect);
}

// --- Groups of calls, by thread.

struct GroupOfCalls {
  int depth = 0;
  NcclComm* comm = nullptr;
  CudaStream* stream = nullptr;
  std::vector<Piece> pieces;
};
thread_local GroupOfCalls group;

NcclResult end_group() {
  if (--group.depth > 0 || group.comm == nullptr) return NcclResult::kSuccess;
  const GroupOfCalls all = std::exchange(group, {});
  return launch(all.comm, all.pieces, all.stream);
}

NcclResult collective(const char* name, NcclComm* comm, Piece piece, CudaStream* stream) {
  const Call call(comm, name);
  ++group.depth;
  group.comm = comm;
  group.stream = stream;
  group.pieces.push_back(piece);
  return end_group();
}

// --- Children.

NcclResult bear(NcclComm* parent, Birth& birth, std::size_t parents, int color, int key, NcclComm** child) {
  birth.colors[parent->rank] = {color, key};
  ++birth.come;
  *child = nullptr;
  const auto effect = [parent, &birth, color, key, child] {
    if (color < 0) return;
    std::vector<std::pair<int, int>> order;  // key and rank of those who go together
    for (const auto& [rank, wish] : birth.colors)
      if (wish.first == color) order.emplace_back(wish.second, rank);
    std::ranges::sort(order);
    auto& clique = birth.children[color];
    if (clique == nullptr) clique = std::make_shared<Clique>(order.size());
    const auto place = std::ranges::find(order, std::pair(key, parent->rank));
    *child = make_comm(clique, static_cast<int>(place - order.begin()), parent->device);
    (*child)->usable = true;
  };
  static_cast<void>(begin(
      parent, [&birth, parents] { return birth.come == parents; }, effect));
  return NcclResult::kSuccess;  // also while it is in progress, as NCCL does here
}

}  // namespace
}  // namespace stint::comm::nccl_shim

namespace stint::comm::gpu {

using nccl_shim::broken;
using nccl_shim::Call;
using nccl_shim::collective;
using nccl_shim::Kind;
using nccl_shim::Lock;
using nccl_shim::shim;

#define STINT_STUB extern "C" STINT_SHIM

STINT_STUB NcclResult ncclGetVersion(int* version) {
  const Lock lock(shim().mutex);
  *version = shim().faults.version;
  return NcclResult::kSuccess;
}

STINT_STUB NcclResult ncclGetUniqueId(NcclId* id) {
  static int number = 0;
  const Lock lock(shim().mutex);
  std::memset(id, 0, sizeof *id);
  std::memcpy(id, &++number, sizeof number);
  return NcclResult::kSuccess;
}

STINT_STUB NcclResult ncclCommInitRankScalable(NcclComm** made, int size, int rank, int /*ids*/, NcclId* id,
                                               NcclConfig* config) {
  const Lock lock(shim().mutex);
  nccl_shim::check_config(config, "ncclCommInitRankScalable");
  auto& clique = nccl_shim::meetings()[{id->bytes, sizeof id->bytes}];
  if (clique == nullptr) clique = std::make_shared<nccl_shim::Clique>(static_cast<std::size_t>(size));
  NcclComm* comm = nccl_shim::make_comm(clique, rank, nccl_shim::this_device());
  *made = comm;
  const auto all_here = [all = clique.get()] { return all->come == all->members.size(); };
  shim().changed.notify_all();
  return nccl_shim::begin(comm, all_here, [comm] { comm->usable = true; });
}

STINT_STUB NcclResult ncclCommSplit(NcclComm* parent, int color, int key, NcclComm** child,
                                    NcclConfig* config) {
  const Call call(parent, "ncclCommSplit");
  nccl_shim::check_config(config, "ncclCommSplit");
  auto& birth = (*parent->nursery)[parent->births++];
  return nccl_shim::bear(parent, birth, parent->clique->members.size(), color, key, child);
}

STINT_STUB NcclResult ncclCommShrink(NcclComm* parent, int* excluded, int count, NcclComm** child,
                                     NcclConfig* config, int /*flags*/) {
  const Call call(parent, "ncclCommShrink");
  nccl_shim::check_config(config, "ncclCommShrink");
  nccl_shim::check_all_given_up(parent, "ncclCommShrink");
  if (parent->queued > 0) broken("revoke_all_first", "ncclCommShrink");
  if (parent->error != NcclResult::kSuccess) return parent->error;
  const std::vector<int> list(excluded, excluded + count);
  if (std::ranges::count(list, parent->rank) > 0) broken("excluded_rank_shrinks", "ncclCommShrink");
  auto& birth = (*parent->nursery)[parent->births++];
  if (birth.come > 0 && birth.excluded != list) broken("exclude_lists_differ", "ncclCommShrink");
  birth.excluded = list;
  return nccl_shim::bear(parent, birth, parent->clique->members.size() - list.size(), 0, parent->rank, child);
}

STINT_STUB NcclResult ncclCommRevoke(NcclComm* comm, int /*flags*/) {
  const Call call(comm, "ncclCommRevoke", Call::When::kAnyTime);
  if (comm->finalizing) broken("revoke_after_finalize", "ncclCommRevoke");
  if (comm->revoked) broken("revoke_twice", "ncclCommRevoke");
  nccl_shim::give_up(comm);
  comm->revoked = comm->abort = true;
  shim().changed.notify_all();
  return nccl_shim::begin(
      comm, [comm] { return comm->queued == 0; }, [comm] { comm->abort = false; });
}

STINT_STUB NcclResult ncclCommFinalize(NcclComm* comm) {
  const Call call(comm, "ncclCommFinalize");
  if (comm->revoked) broken("finalize_after_revoke", "ncclCommFinalize");
  comm->finalizing = true;
  const auto all_do = [comm] {
    return comm->queued == 0 && std::ranges::all_of(comm->clique->members, [](const NcclComm* other) {
             return other != nullptr && (other->finalizing || other->gone);
           });
  };
  shim().changed.notify_all();
  return nccl_shim::begin(comm, all_do, nullptr);
}

STINT_STUB NcclResult ncclCommDestroy(NcclComm* comm) {
  const Call call(comm, "ncclCommDestroy", Call::When::kAnyTime);
  if (comm->in_progress || !(comm->revoked || comm->finalizing))
    broken("destroy_unfinished", "ncclCommDestroy");
  if (comm->error != NcclResult::kSuccess) broken("destroy_in_error", "ncclCommDestroy");
  if (comm->revoked) nccl_shim::check_all_given_up(comm, "ncclCommDestroy");
  comm->gone = true;
  return NcclResult::kSuccess;
}

STINT_STUB NcclResult ncclCommAbort(NcclComm* comm) {
  const Call call(comm, "ncclCommAbort", Call::When::kAnyTime);
  nccl_shim::check_all_given_up(comm, "ncclCommAbort");
  nccl_shim::give_up(comm);
  comm->abort = comm->gone = true;
  shim().changed.notify_all();
  return NcclResult::kSuccess;
}

STINT_STUB NcclResult ncclCommGetAsyncError(NcclComm* comm, NcclResult* result) {
  if (comm == nullptr) return NcclResult::kInvalidArgument;
  const Call call(comm, "ncclCommGetAsyncError", Call::When::kAnyTime);
  if (comm->in_progress && comm->polls-- <= 0 && comm->ready()) nccl_shim::settle(comm);
  *result = comm->in_progress ? NcclResult::kInProgress : comm->error;
  return NcclResult::kSuccess;
}

STINT_STUB const char* ncclGetErrorString(NcclResult result) {
  return result == NcclResult::kRemoteError ? "remote process exited or there was a network error"
                                            : "some error";
}

STINT_STUB const char* ncclGetLastError(NcclComm* /*comm*/) {
  return "";
}

STINT_STUB NcclResult ncclGroupStart() {
  ++nccl_shim::group.depth;
  return NcclResult::kSuccess;
}

STINT_STUB NcclResult ncclGroupEnd() {
  const Lock lock(shim().mutex);
  const NcclComm* comm = nccl_shim::group.comm;
  if (comm != nullptr && !comm->inside.empty()) broken("concurrent_calls", "ncclGroupEnd in " + comm->inside);
  return nccl_shim::end_group();
}

STINT_STUB NcclResult ncclAllReduce(const void* source, void* target, std::size_t count, NcclType type,
                                    NcclOp /*op*/, NcclComm* comm, CudaStream* stream) {
  return collective("ncclAllReduce", comm, {Kind::kAllReduce, source, target, count, type, 0}, stream);
}

STINT_STUB NcclResult ncclReduceScatter(const void* source, void* target, std::size_t count, NcclType type,
                                        NcclOp /*op*/, NcclComm* comm, CudaStream* stream) {
  return collective("ncclReduceScatter", comm, {Kind::kReduceScatter, source, target, count, type, 0},
                    stream);
}

STINT_STUB NcclResult ncclAllGather(const void* source, void* target, std::size_t count, NcclType type,
                                    NcclComm* comm, CudaStream* stream) {
  return collective("ncclAllGather", comm, {Kind::kAllGather, source, target, count, type, 0}, stream);
}

STINT_STUB NcclResult ncclReduce(const void* source, void* target, std::size_t count, NcclType type,
                                 NcclOp /*op*/, int root, NcclComm* comm, CudaStream* stream) {
  return collective("ncclReduce", comm, {Kind::kReduce, source, target, count, type, root}, stream);
}

STINT_STUB NcclResult ncclBroadcast(const void* source, void* target, std::size_t count, NcclType type,
                                    int root, NcclComm* comm, CudaStream* stream) {
  return collective("ncclBroadcast", comm, {Kind::kBroadcast, source, target, count, type, root}, stream);
}

STINT_STUB NcclResult ncclSend(const void* source, std::size_t count, NcclType type, int peer, NcclComm* comm,
                               CudaStream* stream) {
  return collective("ncclSend", comm, {Kind::kSend, source, nullptr, count, type, peer}, stream);
}

STINT_STUB NcclResult ncclRecv(void* target, std::size_t count, NcclType type, int peer, NcclComm* comm,
                               CudaStream* stream) {
  return collective("ncclRecv", comm, {Kind::kReceive, nullptr, target, count, type, peer}, stream);
}

// Each has the type by which the back end calls it.
#define STINT_SAME(result, name, symbol, parameters) \
  static_assert(std::is_same_v<decltype(NcclFunctions::name), decltype(&symbol)>);
STINT_NCCL_FUNCTIONS(STINT_SAME)

}  // namespace stint::comm::gpu
