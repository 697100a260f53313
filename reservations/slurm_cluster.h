// SPDX-License-Identifier: Apache-2.0
// The Slurm adapter: what stintd asks of slurmctld and tells it. Tables are kept and asked for by their
// time of change, so that a poll costs little. Safe from several threads.
#pragma once

#include <memory>

#include "reservations/cluster.h"
#include "reservations/control.h"

namespace stint::reservations {

// Reads slurm.conf ($SLURM_CONF, else Slurm's default). libslurm ends the program by itself when that file is
// missing or wrong.
std::unique_ptr<Cluster> connect_slurm();

// Of slurm.conf as it was when connect_slurm() read it. Its questions block while a host is away.
Controllers slurm_controllers();

}  // namespace stint::reservations
