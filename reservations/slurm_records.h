// SPDX-License-Identifier: Apache-2.0
// What Slurm's records say, in our own terms. Pure.
#pragma once

#include <slurm/slurm.h>

#include <string>
#include <vector>

#include "reservations/cluster.h"

namespace stint::reservations {

std::vector<std::string> hosts_of(const char* list);  // "node[1-2]"; of nullptr none
JobState state_of(std::uint32_t state);
ClusterNode to_node(const node_info_t& info);
ClusterPartition to_partition(const partition_info_t& info);
ClusterTopology to_topology(const topo_info_response_msg_t& message);
ClusterJob to_job(const job_info_t& info);
ClusterReservation to_reservation(const reserve_info_t& info);

}  // namespace stint::reservations
