// SPDX-License-Identifier: Apache-2.0
// stintd: the plan service. Runs in the foreground as SlurmUser or root; ends on SIGTERM or SIGINT.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>
#include <thread>

#include "base/command_line.h"
#include "base/config.h"
#include "base/log.h"
#include "base/run_directory.h"
#include "reservations/api.h"
#include "reservations/book.h"
#include "reservations/failures.h"
#include "reservations/lock_file.h"
#include "reservations/loop.h"
#include "reservations/server.h"
#include "reservations/settings.h"
#include "reservations/shepherd.h"
#include "reservations/slurm_cluster.h"

namespace stint::reservations {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kReconcileEvery{2'000};
constexpr milliseconds kRecoverEvery{200};
constexpr milliseconds kTendEvery{500};
constexpr std::chrono::seconds kEndWithin{2};

void check_user(const Config& config) {
  const auto& allowed = config.server_uids;
  if (std::find(allowed.begin(), allowed.end(), ::geteuid()) != allowed.end()) return;
  fail("runs as uid {}, but clients believe only root and the user of [stintd] user; start it as one of them",
       ::geteuid());
}

// Blocked here, before any thread begins, so that only wait_for_end() gets them.
sigset_t block_end_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  return signals;
}

void wait_for_end(const sigset_t& signals) {
  int signal = 0;
  sigwait(&signals, &signal);
  spdlog::info("signal {}: ending", signal);
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

void serve(const Config& config) {
  const Settings settings = read_settings(config);
  check_user(config);
  start_logging("stintd", settings.log_level);
  const sigset_t signals = block_end_signals();
  LockFile lock(settings.ledger + ".lock");
  const std::unique_ptr<Ledger> opened = open_ledger(settings.ledger, lock);
  Ledger& ledger = *opened;
  Metrics metrics;
  TcpProber prober;
  const auto cluster = connect_slurm();
  Book book(*cluster, ledger, metrics, settings, unix_seconds,
            [](milliseconds pause) { std::this_thread::sleep_for(pause); });
  Failures failures(*cluster, ledger, metrics, prober, {settings.probe_timeout, settings.probes_needed},
                    unix_seconds);
  Shepherd shepherd(*cluster, ledger, metrics, {settings.policy.warn_before, settings.policy.keep_jobs},
                    unix_seconds);
  Api api(book, failures, shepherd, ledger, unix_seconds);
  Server server(api, metrics, Munge(config.munge_socket), settings.threads);
  server.bind(settings.listen_host, settings.listen_port);

  const Loop reconcile("reconcile", [&] {
    book.reconcile();
    return kReconcileEvery;
  });
  const Loop recover("requeue", [&] {
    failures.recover_once();
    return kRecoverEvery;
  });
  const Loop tend("jobs", [&] {
    shepherd.tend_once();
    return kTendEvery;
  });
  const Loop watch("watch", [&] {
    failures.watch_once();
    return settings.probe_interval;
  });
  std::thread http([&] { server.serve(); });
  spdlog::info("version {} listens on {}:{}, ledger {}", STINT_VERSION, settings.listen_host,
               settings.listen_port, settings.ledger);
  wait_for_end(signals);
  end_soon_in_any_case();
  server.stop();
  http.join();
}

}  // namespace
}  // namespace stint::reservations

int main(int argc, char** argv) {
  CLI::App app{"The plan service of stint.", "stintd"};
  std::string config_path;
  bool check = false;
  app.add_option("--config", config_path,
                 "stint.conf to read (default: $STINT_CONF, else /etc/stint/stint.conf)");
  app.add_flag("--check", check, "check the configuration and end");
  app.set_version_flag("--version", STINT_VERSION);
  if (const auto ended = stint::parse_command_line(app, argc, argv)) return *ended;
  try {
    const stint::Config config = stint::load_config(config_path);
    if (check) {
      stint::reservations::read_settings(config);
      return 0;
    }
    stint::reservations::serve(config);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "stintd: " << error.what() << "\n";
    return 1;
  }
}
