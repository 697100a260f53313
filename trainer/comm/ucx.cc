// SPDX-License-Identifier: Apache-2.0
#include "trainer/comm/ucx.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <ucp/api/ucp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "trainer/comm/shared_folder.h"
#include "trainer/comm/ucx_address.h"

namespace stint::comm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kFlushTimeout =
    std::chrono::milliseconds(1000);  // for the last messages of a healthy transport
constexpr auto kAbortTimeout =
    std::chrono::milliseconds(1000);                   // for requests to notice that they were given up
constexpr unsigned kProgressBetweenPurges = 1U << 16;  // looks for messages of older views
constexpr ucp_tag_t kWholeTag = ~ucp_tag_t{0};
constexpr int kEpochShift = 48;

ucp_tag_t packed(Tag tag) {
  return ucp_tag_t{tag.epoch} << kEpochShift | ucp_tag_t{tag.operation} << 16 | tag.slot;
}

void check(ucs_status_t status, const char* doing) {
  if (status != UCS_OK)
    fail("ucx: cannot {}: {}; see UCX_TLS and UCX_NET_DEVICES, and what ucx_info -d lists", doing,
         ucs_status_string(status));
}

void set(ucp_config_t* config, const char* name, const std::string& value) {
  if (std::getenv(fmt::format("UCX_{}", name).c_str()) != nullptr) return;
  check(ucp_config_modify(config, name, value.c_str()), fmt::format("set {} to '{}'", name, value).c_str());
}

struct ContextDeleter {
  void operator()(ucp_context* context) const { ucp_cleanup(context); }
};
struct WorkerDeleter {
  void operator()(ucp_worker* worker) const { ucp_worker_destroy(worker); }
};
struct ConfigDeleter {
  void operator()(ucp_config* config) const { ucp_config_release(config); }
};
using Context = std::unique_ptr<ucp_context, ContextDeleter>;
using Worker = std::unique_ptr<ucp_worker, WorkerDeleter>;
using Config = std::unique_ptr<ucp_config, ConfigDeleter>;

// CMA lets a peer write into our memory whatever we do; a late one would hit freed buffers. It is slower too.
std::string transports_of(const UcxOptions& options) {
  if (const char* given = std::getenv("UCX_TLS")) return given;
  return options.transports.empty() ? "^cma" : options.transports;
}

bool shares_memory(const UcxOptions& options) {
  const std::string transports = transports_of(options);
  return selects_transport(transports, "posix") || selects_transport(transports, "sysv");
}

Config read_config(const UcxOptions& options) {
  ucp_config_t* raw = nullptr;
  check(ucp_config_read(nullptr, nullptr, &raw), "read the UCX_ environment");
  Config config(raw);
  set(raw, "TLS", transports_of(options));
  if (!options.devices.empty()) set(raw, "NET_DEVICES", options.devices);
  // Without it, endpoints with error handling never use shared memory. UCX_POSIX_ and UCX_SYSV_ERROR_HANDLING
  // are what the environment calls it; ucp_config_modify takes neither name.
  if (shares_memory(options)) set(raw, "MM_ERROR_HANDLING", "y");
  set(raw, "KEEPALIVE_INTERVAL", fmt::format("{}ms", options.keepalive.count()));
  return config;
}

Context make_context(const UcxOptions& options) {
  const Config config = read_config(options);
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES;
  params.features = UCP_FEATURE_TAG | UCP_FEATURE_WAKEUP;
  ucp_context_h context = nullptr;
  check(ucp_init(&params, config.get(), &context), "start");
  return Context(context);
}

Worker make_worker(ucp_context_h context) {
  ucp_worker_params_t params{};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  params.thread_mode = UCS_THREAD_MODE_SINGLE;
  ucp_worker_h worker = nullptr;
  check(ucp_worker_create(context, &params, &worker), "open a worker");
  return Worker(worker);
}

int events_of(ucp_worker_h worker) {
  int descriptor = -1;
  check(ucp_worker_get_efd(worker, &descriptor), "get the worker's events");
  return descriptor;
}

// A descriptor that any thread can make readable.
class Bell {
 public:
  Bell() : descriptor_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (descriptor_ < 0) fail("ucx: cannot make an event descriptor: {}", errno_text(errno));
  }
  Bell(const Bell&) = delete;
  Bell& operator=(const Bell&) = delete;
  ~Bell() { close(descriptor_); }
  int descriptor() const { return descriptor_; }
  void ring() const { eventfd_write(descriptor_, 1); }
  void silence() const {
    eventfd_t rings = 0;
    eventfd_read(descriptor_, &rings);
  }

 private:
  int descriptor_;
};

}  // namespace

// UCX_HANDLE_ERRORS is read too early to be set from here.
void give_crash_signals_back() {
  for (const int number : {SIGSEGV, SIGBUS, SIGILL, SIGFPE}) {
    struct sigaction action {};
    if (sigaction(number, nullptr, &action) != 0 || action.sa_handler == SIG_DFL ||
        action.sa_handler == SIG_IGN)
      continue;
    Dl_info handler{}, library{};
    const bool known = dladdr(reinterpret_cast<void*>(action.sa_sigaction), &handler) != 0 &&
                       dladdr(reinterpret_cast<void*>(&ucs_status_string), &library) != 0;
    if (known && handler.dli_fbase == library.dli_fbase) std::signal(number, SIG_DFL);
  }
}

class UcxTransport::Impl {
 public:
  explicit Impl(const UcxOptions& options)
      : context_(make_context(options)),
        worker_(make_worker(context_.get())),
        events_(events_of(worker_.get())),
        shares_memory_(shares_memory(options)),
        own_(UcxAddress::here(worker_address())) {
    give_crash_signals_back();
  }
  ~Impl();

  std::string address() const { return own_.text(); }
  void connect(int rank, const std::vector<std::string>& addresses, std::uint32_t epoch);
  int rank() const { return rank_; }
  int size() const { return static_cast<int>(peers_.size()); }
  Request send(int to, Tag tag, std::span<const std::byte> bytes);
  Request receive(int from, Tag tag, std::span<std::byte> bytes);
  Outcome test(Request request);
  bool arrived(Tag tag) const;
  bool progress();
  void sleep(std::chrono::microseconds limit);
  void wake() const { bell_.ring(); }
  const Status& failure() const { return failure_; }
  void abort();

 private:
  struct Peer {
    Impl* owner = nullptr;
    int rank = -1;
    std::string address;
    ucp_ep_h endpoint = nullptr;
    Status failure;
    std::uint64_t failed_at = 0;  // in idle turns
    bool heard = false;           // something came from it
  };
  struct Slot {
    Peer* peer = nullptr;
    bool receiving = false;
    std::size_t wanted = 0;
    void* request = nullptr;  // UCX's, while it is under way
    ucs_status_t status = UCS_OK;
    std::size_t got = 0;
  };

  std::string worker_address() const;
  static void on_endpoint_error(void* peer, ucp_ep_h endpoint, ucs_status_t status);

  Peer& connected(int rank);
  Request post(Slot slot, ucs_status_ptr_t result);
  // Takes the end of UCX's request, if it has come, over into the slot; false: it is still under way.
  static bool completed(Slot& slot);
  void note_failure(Peer& peer, ucs_status_t status);
  Outcome failed(Status why);
  void purge_older_views();
  void drop_all(ucp_tag_t tag, ucp_tag_t mask);
  void flush(Clock::time_point deadline);
  std::vector<void*> force_close();
  // Until no request of ours or of `others` is under way.
  void settle(std::vector<void*> others, Clock::time_point deadline);

  Context context_;
  Worker worker_;
  int events_;  // the worker's
  bool shares_memory_;
  UcxAddress own_;
  bool sleepless_ = false;  // a peer may be where its wake-ups do not reach us from
  Bell bell_;
  int rank_ = -1;
  std::uint16_t epoch_ = 0;
  std::vector<Peer> peers_;
  std::vector<Slot> slots_;  // a Request is a place in it
  std::vector<Request> free_;
  Status failure_;
  std::uint64_t idle_turns_ = 0;
  unsigned until_purge_ = kProgressBetweenPurges;
};

std::string UcxTransport::Impl::worker_address() const {
  ucp_address_t* raw = nullptr;
  std::size_t length = 0;
  check(ucp_worker_get_address(worker_.get(), &raw, &length), "tell the worker's address");
  std::string bytes(reinterpret_cast<const char*>(raw), length);
  ucp_worker_release_address(worker_.get(), raw);
  return bytes;
}

void UcxTransport::Impl::connect(int rank, const std::vector<std::string>& addresses, std::uint32_t epoch) {
  if (!peers_.empty()) fail("ucx: a transport connects once; a new view needs a new one");
  const int size = static_cast<int>(addresses.size());
  if (rank < 0 || rank >= size) fail("ucx: rank {} is not among the {} addresses", rank, size);
  std::vector<Peer> peers(addresses.size());
  bool deaf = false;
  for (int r = 0; r < size; ++r) {
    Peer& peer = peers[static_cast<std::size_t>(r)];
    peer.owner = this;
    peer.rank = r;
    UcxAddress address = UcxAddress::parse(addresses[static_cast<std::size_t>(r)], r);
    deaf = deaf || deaf_to_each_other(address, own_);
    peer.address = std::move(address.worker);
  }
  sleepless_ = shares_memory_ && deaf;
  peers_ = std::move(peers);
  rank_ = rank;
  epoch_ = static_cast<std::uint16_t>(epoch);
  connected((rank + 1) % size);
  connected((rank + size - 1) % size);
}

UcxTransport::Impl::Peer& UcxTransport::Impl::connected(int rank) {
  Peer& peer = peers_[static_cast<std::size_t>(rank)];
  if (peer.endpoint != nullptr || !peer.failure || rank == rank_) return peer;
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                      UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.address = reinterpret_cast<const ucp_address_t*>(peer.address.data());
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler = {&on_endpoint_error, &peer};
  const ucs_status_t status = ucp_ep_create(worker_.get(), &params, &peer.endpoint);
  if (status != UCS_OK) {
    peer.endpoint = nullptr;
    note_failure(peer, status);
  }
  return peer;
}

void UcxTransport::Impl::note_failure(Peer& peer, ucs_status_t status) {
  if (!peer.failure) return;
  peer.failure = {Code::kPeerFailed, peer.rank,
                  fmt::format("rank {}: {}", peer.rank, ucs_status_string(status))};
  peer.failed_at = idle_turns_;
}

void UcxTransport::Impl::on_endpoint_error(void* peer, ucp_ep_h /*endpoint*/, ucs_status_t status) {
  auto& failed_peer = *static_cast<Peer*>(peer);
  failed_peer.owner->note_failure(failed_peer, status);
}

Transport::Request UcxTransport::Impl::post(Slot slot, ucs_status_ptr_t result) {
  if (UCS_PTR_IS_PTR(result))
    slot.request = result;
  else
    slot.status = UCS_PTR_STATUS(result);
  if (free_.empty()) {
    free_.push_back(static_cast<Request>(slots_.size()));
    slots_.emplace_back();
  }
  const Request number = free_.back();
  free_.pop_back();
  slots_[number] = slot;
  return number;
}

Transport::Request UcxTransport::Impl::send(int to, Tag tag, std::span<const std::byte> bytes) {
  Peer& peer = connected(to);
  const Slot slot{&peer, false, bytes.size(), nullptr, UCS_OK, bytes.size()};
  if (!peer.failure) return post(slot, UCS_STATUS_PTR(UCS_ERR_CONNECTION_RESET));
  const ucp_request_param_t param{};
  return post(slot, ucp_tag_send_nbx(peer.endpoint, bytes.data(), bytes.size(), packed(tag), &param));
}

Transport::Request UcxTransport::Impl::receive(int from, Tag tag, std::span<std::byte> bytes) {
  const Slot slot{&connected(from), true, bytes.size(), nullptr, UCS_OK, 0};
  ucp_request_param_t param{};
  param.op_attr_mask =
      UCP_OP_ATTR_FLAG_NO_IMM_CMPL;  // at once, there would be no request to ask for the length
  return post(slot,
              ucp_tag_recv_nbx(worker_.get(), bytes.data(), bytes.size(), packed(tag), kWholeTag, &param));
}

bool UcxTransport::Impl::completed(Slot& slot) {
  if (slot.request == nullptr) return true;
  ucp_tag_recv_info_t info{};
  const ucs_status_t status = slot.receiving ? ucp_tag_recv_request_test(slot.request, &info)
                                             : ucp_request_check_status(slot.request);
  if (status == UCS_INPROGRESS) return false;
  ucp_request_free(std::exchange(slot.request, nullptr));
  slot.status = status;
  if (slot.receiving) {
    slot.got = info.length;
    slot.peer->heard |= status == UCS_OK;
  }
  return true;
}

Outcome UcxTransport::Impl::failed(Status why) {
  failure_ = std::move(why);
  return Outcome::kFailed;
}

Outcome UcxTransport::Impl::test(Request request) {
  Slot& slot = slots_[request];
  const Peer& peer = *slot.peer;
  if (!completed(slot)) {
    // What a peer sent before it went may still lie in our queues, until a turn in which nothing moved.
    const bool hopeless = slot.receiving && !peer.failure && idle_turns_ > peer.failed_at;
    return hopeless ? failed(peer.failure) : Outcome::kPending;
  }
  if (slot.status != UCS_OK && !peer.failure) return failed(peer.failure);
  if (slot.status != UCS_OK)
    return failed({Code::kPeerFailed, peer.rank,
                   fmt::format("{} rank {}: {}", slot.receiving ? "receive from" : "send to", peer.rank,
                               ucs_status_string(slot.status))});
  if (slot.got != slot.wanted)
    return failed(
        {Code::kPeerFailed, peer.rank,
         fmt::format("rank {} sent {} bytes where {} were awaited", peer.rank, slot.got, slot.wanted)});
  free_.push_back(request);
  return Outcome::kDone;
}

bool UcxTransport::Impl::arrived(Tag tag) const {
  ucp_tag_recv_info_t info{};
  return ucp_tag_probe_nb(worker_.get(), packed(tag), kWholeTag, 0, &info) != nullptr;
}

bool UcxTransport::Impl::progress() {
  if (--until_purge_ == 0) purge_older_views();
  if (ucp_worker_progress(worker_.get()) != 0) return true;
  ++idle_turns_;
  return false;
}

// Arming fails while something has come that progress() has not seen yet.
void UcxTransport::Impl::sleep(std::chrono::microseconds limit) {
  if (sleepless_) sched_yield();
  if (sleepless_ || !worker_ || ucp_worker_arm(worker_.get()) != UCS_OK) return;
  const auto seconds = std::chrono::floor<std::chrono::seconds>(limit);
  const timespec time{seconds.count(), std::chrono::nanoseconds(limit - seconds).count()};
  std::array<pollfd, 2> both{{{events_, POLLIN, 0}, {bell_.descriptor(), POLLIN, 0}}};
  if (ppoll(both.data(), both.size(), &time, nullptr) > 0 && both[1].revents != 0) bell_.silence();
}

// The epochs below ours are those that agree with it down to some set bit and have a zero there.
void UcxTransport::Impl::purge_older_views() {
  until_purge_ = kProgressBetweenPurges;
  for (int bit = 0; bit < 16; ++bit) {
    if ((epoch_ >> bit & 1) == 0) continue;
    const auto mask = static_cast<std::uint16_t>(0xffffU << bit);
    const auto older = static_cast<std::uint16_t>((epoch_ & mask) ^ (1U << bit));
    drop_all(ucp_tag_t{older} << kEpochShift, ucp_tag_t{mask} << kEpochShift);
  }
}

// Takes messages that nobody awaits into no buffer: they count as truncated, and their senders may go on.
void UcxTransport::Impl::drop_all(ucp_tag_t tag, ucp_tag_t mask) {
  const ucp_request_param_t param{};
  ucp_tag_recv_info_t info{};
  while (ucp_tag_message_h message = ucp_tag_probe_nb(worker_.get(), tag, mask, 1, &info)) {
    const ucs_status_ptr_t result = ucp_tag_msg_recv_nbx(worker_.get(), nullptr, 0, message, &param);
    if (UCS_PTR_IS_PTR(result)) ucp_request_free(result);
  }
}

void UcxTransport::Impl::settle(std::vector<void*> others, Clock::time_point deadline) {
  const auto other_done = [](void* request) {
    if (ucp_request_check_status(request) == UCS_INPROGRESS) return false;
    ucp_request_free(request);
    return true;
  };
  while (Clock::now() < deadline) {
    std::erase_if(others, other_done);
    if (others.empty() && std::ranges::all_of(slots_, completed)) return;
    if (ucp_worker_progress(worker_.get()) == 0) sched_yield();
  }
  for (void* request : others) ucp_request_free(request);
}

void UcxTransport::Impl::flush(Clock::time_point deadline) {
  std::vector<void*> requests;
  const ucp_request_param_t param{};
  for (const Peer& peer : peers_) {
    if (peer.endpoint == nullptr || !peer.failure) continue;
    const ucs_status_ptr_t result = ucp_ep_flush_nbx(peer.endpoint, &param);
    if (UCS_PTR_IS_PTR(result)) requests.push_back(result);
  }
  settle(std::move(requests), deadline);
}

std::vector<void*> UcxTransport::Impl::force_close() {
  std::vector<void*> requests;
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = UCP_EP_CLOSE_FLAG_FORCE;
  for (Peer& peer : peers_) {
    if (peer.endpoint == nullptr) continue;
    const ucs_status_ptr_t result = ucp_ep_close_nbx(std::exchange(peer.endpoint, nullptr), &param);
    if (UCS_PTR_IS_PTR(result)) requests.push_back(result);
  }
  return requests;
}

// Without the worker nothing can touch a buffer any more, be it that a request could not be given up. One
// whose peer was lost before it was ever heard of is left to the process's end instead: an answer to the
// peer's first words may still wait to be sent, and UCX 1.13 ends the process over that in
// ucp_worker_destroy().
void UcxTransport::Impl::abort() {
  if (!worker_) return;
  for (Slot& slot : slots_)
    if (!completed(slot) && slot.receiving) ucp_request_cancel(worker_.get(), slot.request);
  drop_all(0, 0);
  settle(force_close(), Clock::now() + kAbortTimeout);
  if (std::ranges::any_of(peers_, [](const Peer& peer) { return !peer.failure && !peer.heard; })) {
    static_cast<void>(worker_.release());
    static_cast<void>(context_.release());
  }
  worker_.reset();
}

UcxTransport::Impl::~Impl() {
  if (!worker_) return;
  flush(Clock::now() + kFlushTimeout);
  abort();
}

UcxTransport::UcxTransport(const UcxOptions& options) : impl_(std::make_unique<Impl>(options)) {}
UcxTransport::~UcxTransport() = default;
std::string UcxTransport::address() const {
  return impl_->address();
}
void UcxTransport::connect(int rank, const std::vector<std::string>& addresses, std::uint32_t epoch) {
  impl_->connect(rank, addresses, epoch);
}
int UcxTransport::rank() const {
  return impl_->rank();
}
int UcxTransport::size() const {
  return impl_->size();
}
Transport::Request UcxTransport::send(int peer, Tag tag, std::span<const std::byte> bytes) {
  return impl_->send(peer, tag, bytes);
}
Transport::Request UcxTransport::receive(int peer, Tag tag, std::span<std::byte> bytes) {
  return impl_->receive(peer, tag, bytes);
}
Outcome UcxTransport::test(Request request) {
  return impl_->test(request);
}
bool UcxTransport::arrived(int /*peer*/, Tag tag) {
  return impl_->arrived(tag);
}
bool UcxTransport::progress() {
  return impl_->progress();
}
void UcxTransport::sleep(std::chrono::microseconds limit) {
  impl_->sleep(limit);
}
void UcxTransport::wake() {
  impl_->wake();
}
Status UcxTransport::failure() const {
  return impl_->failure();
}
void UcxTransport::abort() {
  impl_->abort();
}

}  // namespace stint::comm
