// SPDX-License-Identifier: Apache-2.0
// Preloaded into stintd by shortfall.bats: Slurm is asked for one node fewer than stintd asks for, and so
// answers with success and too few nodes.
#include <dlfcn.h>
#include <slurm/slurm.h>

#include <algorithm>
#include <string>

extern "C" char* slurm_create_reservation(resv_desc_msg_t* message) {
  using Create = char* (*)(resv_desc_msg_t*);
  const auto create = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "slurm_create_reservation"));
  std::string nodes = message->node_list;
  nodes.resize(std::min(nodes.size(), nodes.rfind(',')));
  char* const asked = message->node_list;
  message->node_list = nodes.data();
  char* made = create(message);
  message->node_list = asked;
  return made;
}
