// SPDX-License-Identifier: Apache-2.0
// Machines that are not here, in hwloc's XML form, and as read_machine() sees them.
#pragma once

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "trainer/topology/machine.h"

namespace stint::topology::testing {

// Writes one machine from the outside in.
class XmlMachine {
 public:
  // Each package holds one NUMA node.
  XmlMachine(int packages, int cores_per_package, std::string cpu_model)
      : packages_(packages), cores_(cores_per_package), model_(std::move(cpu_model)) {}

  // Everything is said of the package named last; the bridges of a device are those that are open.
  XmlMachine& package(int index) {
    current_ = index;
    return *this;
  }
  XmlMachine& open_host_bridge() {
    io_[current_] += fmt::format(R"(<object type="Bridge" gp_index="{}" bridge_type="0-1" depth="0" )"
                                 R"(bridge_pci="0000:[{:02x}-{:02x}]">)",
                                 ++object_, bus_, bus_ + 15);
    return *this;
  }
  XmlMachine& open_bridge() {
    const int own = bus_++;
    io_[current_] += fmt::format(R"(<object type="Bridge" gp_index="{}" bridge_type="1-1" depth="1" )"
                                 R"(bridge_pci="0000:[{:02x}-{:02x}]" pci_busid="0000:{:02x}:00.0" )"
                                 R"(pci_type="0604 [1000:c030] [0000:0000] 00" pci_link_speed="0.000000">)",
                                 ++object_, own + 1, own + 15, own);
    return *this;
  }
  XmlMachine& close() {
    io_[current_] += "</object>";
    return *this;
  }
  XmlMachine& gpu(const std::string& model, const char* vendor = "10de") {
    return device("0302", vendor, model, "");
  }
  // port_state: 4 is active, 1 is down.
  XmlMachine& rdma(const std::string& device_name, const std::string& interface, int port_state = 4) {
    std::string inside = fmt::format(R"(<object type="OSDev" gp_index="{}" name="{}" osdev_type="3">)"
                                     R"(<info name="Port1State" value="{}"/></object>)",
                                     ++object_, device_name, port_state);
    if (!interface.empty()) inside += network(interface);
    return device("0207", "15b3", "", inside);
  }
  XmlMachine& ethernet(const std::string& interface) {
    return device("0200", "8086", "", network(interface));
  }

  std::string text() {
    std::string all = R"(<?xml version="1.0" encoding="UTF-8"?><topology version="2.0">)";
    all += object("Machine", 0, 0, packages_ * cores_, (1 << packages_) - 1, "");
    for (int p = 0; p < packages_; ++p) {
      const int first = p * cores_, nodes = 1 << p;
      all += object("Package", p, first, cores_, nodes,
                    fmt::format(R"(<info name="CPUModel" value="{}"/>)", model_));
      all += object("NUMANode", p, first, cores_, nodes, "</object>");
      for (int core = first; core < first + cores_; ++core)
        all += object("Core", core, core, 1, nodes, object("PU", core, core, 1, nodes, "</object></object>"));
      all += io_[p] + "</object>";
    }
    return all + "</object></topology>";
  }

 private:
  static std::string hex_set(int first, int count) {
    std::string words;
    for (int word = (first + count - 1) / 32; word >= 0; --word) {
      unsigned bits = 0;
      for (int bit = 0; bit < 32; ++bit)
        if (const int cpu = word * 32 + bit; cpu >= first && cpu < first + count) bits |= 1U << bit;
      words += fmt::format("{}0x{:08x}", words.empty() ? "" : ",", bits);
    }
    return words;
  }
  std::string object(const char* type, int index, int first, int count, int nodes,
                     const std::string& inside) {
    return fmt::format(R"(<object type="{0}" os_index="{1}" cpuset="{2}" complete_cpuset="{2}" )"
                       R"(allowed_cpuset="{2}" nodeset="0x{3:08x}" complete_nodeset="0x{3:08x}" )"
                       R"(allowed_nodeset="0x{3:08x}" gp_index="{4}"{5}>{6})",
                       type, index, hex_set(first, count), nodes, ++object_,
                       std::string(type) == "NUMANode" ? R"( local_memory="1073741824")" : "", inside);
  }
  std::string network(const std::string& interface) {
    return fmt::format(R"(<object type="OSDev" gp_index="{}" name="{}" osdev_type="2"></object>)", ++object_,
                       interface);
  }
  XmlMachine& device(const char* type, const char* vendor, const std::string& name,
                     const std::string& inside) {
    const std::string named = name.empty() ? "" : fmt::format(R"( name="{}")", name);
    io_[current_] +=
        fmt::format(R"(<object type="PCIDev" gp_index="{}"{} pci_busid="0000:{:02x}:00.0" )"
                    R"(pci_type="{} [{}:1234] [0000:0000] 00" pci_link_speed="31.5">{}</object>)",
                    ++object_, named, bus_++, type, vendor, inside);
    return *this;
  }

  int packages_, cores_, current_ = 0, object_ = 0, bus_ = 1;
  std::string model_;
  std::string io_[8];
};

// As a program on that machine would read it.
inline Machine read_xml(const std::string& text) {
  const auto path = std::filesystem::temp_directory_path() / fmt::format("stint-machine-{}.xml", getpid());
  std::ofstream(path) << text;
  setenv("HWLOC_XMLFILE", path.c_str(), 1);
  Machine machine;
  try {
    machine = read_machine();
  } catch (...) {
    unsetenv("HWLOC_XMLFILE");
    throw;
  }
  unsetenv("HWLOC_XMLFILE");
  std::filesystem::remove(path);
  return machine;
}

// The class of an 8-GPU node with a PCI switch for each pair of GPU and InfiniBand device, two more devices
// for storage, and Ethernet for management. down: the compute device whose cable is out.
inline std::string dgx_xml(int down = -1) {
  XmlMachine machine(2, 56, "Intel(R) Xeon(R) Platinum 8480C");
  for (int gpu = 0; gpu < 8; ++gpu) {
    machine.package(gpu / 4).open_host_bridge().open_bridge().open_bridge();
    // On every other board the network device comes first, as its numbers do not follow the GPUs'.
    if (gpu % 2 == 0) machine.gpu("H100");
    machine.rdma(fmt::format("mlx5_{}", gpu < 4 ? gpu : gpu + 2), fmt::format("ib{}", gpu),
                 gpu == down ? 1 : 4);
    if (gpu % 2 == 1) machine.gpu("H100");
    machine.close().close().close();
  }
  for (int storage = 0; storage < 2; ++storage)
    machine.package(storage).open_host_bridge().rdma(fmt::format("mlx5_{}", 4 + storage * 6), "").close();
  machine.package(0).open_host_bridge().ethernet("eno1").gpu("ASPEED", "1a03").close();
  return machine.text();
}
inline Machine dgx(int down = -1) {
  return read_xml(dgx_xml(down));
}

// One tray of an NVL72 rack: two Grace processors, four GPUs, four InfiniBand devices on other host bridges.
inline Machine gb200_tray() {
  XmlMachine machine(2, 72, "Neoverse-V2");
  for (int gpu = 0; gpu < 4; ++gpu)
    machine.package(gpu / 2).open_host_bridge().open_bridge().gpu("GB200").close().close();
  for (int nic = 0; nic < 4; ++nic)
    machine.package(nic / 2)
        .open_host_bridge()
        .open_bridge()
        .rdma(fmt::format("mlx5_{}", nic), "")
        .close()
        .close();
  return read_xml(machine.text());
}

}  // namespace stint::topology::testing
