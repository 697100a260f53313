// SPDX-License-Identifier: Apache-2.0
// stint.conf: one strict INI file for every program. Found by $STINT_CONF, else /etc/stint/stint.conf.
// Only the keys that two rooms need stand here; stintd's own are read by reservations/.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ini.h"
#include "base/text.h"

namespace stint {

struct Config {
  std::string path;     // where it was read from; empty: built-in defaults
  std::string address;  // [stintd] address = host:port[,host:port…], what clients dial, one after the other
  std::vector<std::uint32_t> server_uids;  // [stintd] user = slurm: who may sign replies (root always may)
  std::string munge_socket;                // [munge] socket =
  std::vector<std::string> recipe_path;  // [recipes] path = dir:dir, searched before the installed catalogue
  double node_tflops = 0;  // [recipes] node_tflops, that one node sustains in training; 0: not known
  IniFile file;            // the whole file, for the rooms' own sections
};

// "head:6821,spare:6821" -> both, in order. Throws Error that names the part that is no host:port.
std::vector<HostPort> parse_addresses(std::string_view address);

// Throws Error with file:line on unknown sections or keys ("did you mean"). `explicit_path` wins over the
// environment. A missing default file is fine (defaults), a missing named file is an error.
Config load_config(const std::string& explicit_path = {});

}  // namespace stint
