// SPDX-License-Identifier: Apache-2.0
// stintd: the plan service. Runs in the foreground as SlurmUser or root; ends on SIGTERM or SIGINT, reads
// stint.conf again on SIGHUP.
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "base/command_line.h"
#include "base/config.h"
#include "base/log.h"
#include "base/run_directory.h"
#include "base/text.h"
#include "reservations/api.h"
#include "reservations/book.h"
#include "reservations/failures.h"
#include "reservations/ledger_copy.h"
#include "reservations/lock_file.h"
#include "reservations/lookout.h"
#include "reservations/loop.h"
#include "reservations/notifier.h"
#include "reservations/opener.h"
#include "reservations/pages.h"
#include "reservations/privacy.h"
#include "reservations/server.h"
#include "reservations/settings.h"
#include "reservations/shepherd.h"
#include "reservations/slurm_cluster.h"
#include "reservations/tally.h"

namespace stint::reservations {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kReconcileEvery{2'000};
constexpr milliseconds kLookEvery{3'000};
constexpr milliseconds kRecoverEvery{200};
constexpr milliseconds kTendEvery{500};
constexpr milliseconds kOpenEvery{1'000};
constexpr milliseconds kOpenSoonEvery{500};
constexpr milliseconds kControlEvery{1'000};
constexpr milliseconds kNever = std::chrono::hours{24};  // longer between two looks is nobody's business
constexpr std::chrono::seconds kEndWithin{2};

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

void check_user(const Config& config) {
  const auto& allowed = config.server_uids;
  if (std::find(allowed.begin(), allowed.end(), ::geteuid()) != allowed.end()) return;
  fail("runs as uid {}, but clients believe only root and the user of [stintd] user; start it as one of them",
       ::geteuid());
}

// What stint.conf says.
struct Setup {
  std::string path;  // as it was asked for
  Config config;
  Settings settings;
};

Setup load_setup(const std::string& path) {
  Setup setup{path, load_config(path), {}};
  setup.settings = read_settings(setup.config);
  check_user(setup.config);
  return setup;
}

// Blocked here, before any thread begins, so that only next_call() gets them.
sigset_t block_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  return signals;
}

// What a signal asks for.
struct Call {
  bool end = false;
  std::optional<Setup> setup;  // go on with this one
};

// Neither where `over` holds before a signal comes. A stint.conf that is wrong changes nothing.
Call next_call(const sigset_t& signals, const std::string& path, const std::function<bool()>& over) {
  constexpr timespec kTick{0, 50'000'000};
  while (!over()) {
    const int signal = sigtimedwait(&signals, nullptr, &kTick);
    if (signal <= 0) continue;
    if (signal != SIGHUP) {
      spdlog::info("signal {}: ending", signal);
      return {true, std::nullopt};
    }
    try {
      auto setup = load_setup(path);
      spdlog::info("signal {}: {} is read again", signal, setup.config.path);
      return {false, std::move(setup)};
    } catch (const std::exception& error) {
      spdlog::error("signal {}: {}; nothing is changed", signal, error.what());
    }
  }
  return {};
}

// A call to a controller that is away may block for long; the ledger stands a kill at any point.
void end_soon_in_any_case() {
  std::thread([] {
    std::this_thread::sleep_for(kEndWithin);
    ::_exit(0);
  }).detach();
}

// A wrong path leaves nothing behind.
std::unique_ptr<Ledger> open_ledger(const std::string& path, LockFile& lock) {
  try {
    return std::make_unique<Ledger>(path);
  } catch (const Error&) {
    lock.remove_if_new();
    throw;
  }
}

// The check's own time, and what Slurm and a slow start of the program need around it.
constexpr std::chrono::seconds kAroundCheck{25};

OpenerSettings opener_settings(const Config& config, const Settings& settings) {
  const auto stint = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "stint";
  return {{settings.policy.prepare_before, settings.health.timeout + kAroundCheck},
          check_script(stint, config.path)};
}

// Whether Slurm is controlled from this host, asked again and again where there is a choice.
class InControl {
 public:
  InControl() : controllers_(slurm_controllers()), loop_("control", [this] { return look(); }) {}
  bool here() const { return here_; }
  bool has_rivals() const { return controllers_.hosts.size() > 1; }

 private:
  milliseconds look() {
    const std::string why = why_stand_by(controllers_, own_host_);
    if (why != last_why_ && !why.empty()) spdlog::info("stands by: {}", why);
    last_why_ = why;
    here_ = why.empty();
    return has_rivals() ? kControlEvery : kNever;
  }

  const Controllers controllers_;
  const std::string own_host_ = host_name();
  std::string last_why_;
  std::atomic<bool> here_ = false;
  Loop loop_;  // the last member: it uses the others
};

// None where nobody is to be told of anything.
std::unique_ptr<Notifier> notifier(Ledger& ledger, const Book& book, Metrics& metrics,
                                   const Settings& settings) {
  if (!settings.notices.on()) {
    ledger.stop_notices();
    return nullptr;
  }
  return std::make_unique<Notifier>(
      ledger, book.accounts(), metrics, settings, unix_seconds,
      [by = settings.notices](const Notice& notice, std::int64_t id) { deliver(by, notice, id); });
}

void stop(std::vector<std::unique_ptr<Loop>>& loops) {
  for (const auto& loop : loops) loop->request_stop();
  loops.clear();
}

// Until a signal comes, or another host's slurmctld takes control.
Call serve_in_control(const Setup& setup, const sigset_t& signals, Cluster& cluster,
                      const InControl& control) {
  const auto& [path, config, settings] = setup;
  LockFile lock(settings.ledger + ".lock");
  const std::unique_ptr<Ledger> opened = open_ledger(settings.ledger, lock);
  Ledger& ledger = *opened;
  Metrics metrics;
  TcpProber prober;
  Book book(cluster, ledger, metrics, settings, unix_seconds,
            [](milliseconds pause) { std::this_thread::sleep_for(pause); });
  Failures failures(cluster, ledger, metrics, prober,
                    {settings.probe_timeout, settings.probes_needed, settings.restart_grace}, unix_seconds);
  Shepherd shepherd(cluster, ledger, metrics,
                    {settings.policy.warn_before, settings.policy.keep_jobs, settings.policy.exceed_max_time},
                    unix_seconds);
  Opener opener(cluster, ledger, metrics, opener_settings(config, settings), unix_seconds);
  Lookout lookout(cluster);
  const Privacy privacy(cluster, lookout, book.gate());
  Api api(book, failures, shepherd, opener, ledger, privacy, unix_seconds);
  const Pages pages(book, lookout, unix_seconds);
  Server server(api, pages, metrics, Munge(config.munge_socket), settings.threads);
  server.bind(settings.listen_host, settings.listen_port);

  const auto told_of = notifier(ledger, book, metrics, settings);
  std::vector<std::unique_ptr<Loop>> loops;
  const auto add = [&](const char* name, std::function<milliseconds()> work) {
    loops.push_back(std::make_unique<Loop>(name, std::move(work)));
  };
  add("reconcile", [&] {
    book.reconcile();
    return kReconcileEvery;
  });
  add("look", [&] {
    lookout.look();
    const std::chrono::sys_seconds now{std::chrono::seconds{static_cast<std::int64_t>(unix_seconds())}};
    metrics.set_plans(tally(book.list(), *lookout.sight(), now));
    return kLookEvery;
  });
  add("requeue", [&] {
    failures.recover_once();
    return kRecoverEvery;
  });
  add("jobs", [&] {
    shepherd.tend_once();
    return kTendEvery;
  });
  add("opening", [&] { return opener.tend_once() ? kOpenSoonEvery : kOpenEvery; });
  add("watch", [&] {
    failures.watch_once();
    return settings.probe_interval;
  });
  add("notices", [&] { return told_of ? told_of->round() : kNever; });
  std::thread http([&] { server.serve(); });
  spdlog::info("version {} listens on {}:{}, ledger {}", STINT_VERSION, settings.listen_host,
               settings.listen_port, settings.ledger);
  auto call = next_call(signals, path, [&] { return !control.here(); });
  if (call.end) end_soon_in_any_case();
  if (call.setup) stop(loops);  // takes long while slurmctld is away; requests are answered meanwhile
  server.stop();
  http.join();
  return call;
}

// Beside a backup controller, the stintd of the host that has lost control may need a moment to let go.
Call serve_when_free(const Setup& setup, const sigset_t& signals, Cluster& cluster,
                     const InControl& control) {
  try {
    return serve_in_control(setup, signals, cluster, control);
  } catch (const Error& error) {
    if (!control.has_rivals()) throw;
    spdlog::error("{}; tries again", error.what());
    const auto again = std::chrono::steady_clock::now() + kControlEvery;
    return next_call(signals, setup.path, [&] { return std::chrono::steady_clock::now() > again; });
  }
}

void serve(const std::string& path) {
  Setup setup = load_setup(path);
  std::optional<Setup> before;  // of one that nobody has served with yet
  start_logging("stintd", setup.settings.log_level);
  const sigset_t signals = block_signals();
  const auto cluster = connect_slurm();
  const InControl control;
  for (;;) {
    auto call = next_call(signals, path, [&] { return control.here(); });
    try {
      if (!call.end && !call.setup) call = serve_when_free(setup, signals, *cluster, control);
      before.reset();
    } catch (const Error& error) {
      if (!before) throw;
      spdlog::error("{}; goes on as before", error.what());
      call.setup = std::exchange(before, std::nullopt);
    }
    if (call.end) return end_soon_in_any_case();
    if (!call.setup) continue;
    before = std::exchange(setup, *std::move(call.setup));
    set_log_level(setup.settings.log_level);
  }
}

void back_up(const Config& config, const std::string& file) {
  const Settings settings = read_settings(config);
  back_up_ledger(settings.ledger, file);
  fmt::print("stintd: ledger {} is copied to {}\n", settings.ledger, file);
}

// Named as stintd names its reservations, but in no plan of the ledger: booked after the copy was made, or
// another's.
std::vector<std::string> unknown_reservations(const std::string& ledger_path) {
  const Ledger ledger(ledger_path);
  std::set<std::string> known;
  for (const auto& plan : ledger.plans_since({})) {
    for (const auto& segment : plan.segments) known.insert(segment.reservation);
  }
  std::vector<std::string> unknown;
  for (const auto& reservation : connect_slurm()->reservations()) {
    const auto dot = reservation.name.rfind('.');
    if (dot != std::string::npos && valid_name(reservation.name.substr(0, dot)) &&
        !known.contains(reservation.name))
      unknown.push_back(reservation.name);
  }
  return unknown;
}

void name_unknown_reservations(const std::string& ledger) {
  try {
    for (const auto& name : unknown_reservations(ledger)) {
      fmt::print(
          "stintd: reservation {} is in no plan of this ledger; if it was a plan: scontrol delete "
          "ReservationName={}, before stintd starts; then book it again\n",
          name, name);
    }
  } catch (const ClusterError& error) {
    fmt::print("stintd: {}; look with 'scontrol show reservation' for plans booked after the copy\n",
               error.what());
  }
}

void restore(const Config& config, const std::string& file) {
  const Settings settings = read_settings(config);
  check_user(config);
  start_logging("stintd", settings.log_level);
  const LockFile lock(settings.ledger + ".lock");
  const std::string aside = restore_ledger(file, settings.ledger);
  fmt::print("stintd: ledger {} is that of {}\n", settings.ledger, file);
  if (!aside.empty()) fmt::print("stintd: the one before is kept as {}\n", aside);
  name_unknown_reservations(settings.ledger);
}

}  // namespace
}  // namespace stint::reservations

int main(int argc, char** argv) {
  CLI::App app{"The plan service of stint.", "stintd"};
  std::string config_path;
  std::string file;
  bool check = false;
  app.add_option("--config", config_path,
                 "stint.conf to read (default: $STINT_CONF, else /etc/stint/stint.conf)");
  app.add_flag("--check", check, "check the configuration and end");
  auto* back_up = app.add_subcommand("backup", "copy the ledger, also while stintd runs");
  auto* restore = app.add_subcommand("restore", "put a copy in the ledger's place, while stintd is stopped");
  for (auto* command : {back_up, restore}) command->add_option("FILE", file, "the copy")->required();
  app.fallthrough();
  app.set_version_flag("--version", STINT_VERSION);
  if (const auto ended = stint::parse_command_line(app, argc, argv)) return *ended;
  try {
    const stint::Config config = stint::load_config(config_path);
    if (check) {
      stint::reservations::read_settings(config);
      return 0;
    }
    if (back_up->parsed()) {
      stint::reservations::back_up(config, file);
    } else if (restore->parsed()) {
      stint::reservations::restore(config, file);
    } else {
      stint::reservations::serve(config_path);
    }
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "stintd: " << error.what() << "\n";
    return 1;
  }
}
