// SPDX-License-Identifier: Apache-2.0
// What the plugins bring into Slurm's processes: no symbol and no library beyond the ones listed here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <set>
#include <sstream>
#include <string>

namespace stint::spank {
namespace {

using ::testing::UnorderedElementsAre;

std::string output_of(const std::string& command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  std::string text;
  for (int c = pipe ? std::fgetc(pipe.get()) : EOF; c != EOF; c = std::fgetc(pipe.get())) {
    text += static_cast<char>(c);
  }
  return text;
}

std::set<std::string> exported(const std::string& plugin) {
  std::istringstream lines(output_of(STINT_NM " -D --defined-only --format=posix " + plugin));
  std::set<std::string> names;
  for (std::string line; std::getline(lines, line);) names.insert(line.substr(0, line.find(' ')));
  return names;
}

// Library names without their versions: "libc", "libm".
std::set<std::string> needed(const std::string& plugin) {
  std::istringstream lines(output_of(STINT_READELF " --dynamic --wide " + plugin));
  std::set<std::string> names;
  for (std::string line; std::getline(lines, line);) {
    if (line.find("(NEEDED)") == std::string::npos) continue;
    const std::string name = line.substr(line.find('[') + 1);
    names.insert(name.substr(0, name.find(".so")));
  }
  return names;
}

std::set<std::string> needed_beyond_basics(const std::string& plugin) {
  std::set<std::string> names = needed(plugin);
  for (const char* basic : {"libc", "libm", "libdl", "libpthread", "libinih", "ld-linux-x86-64",
                            "ld-linux-aarch64", "libasan", "libtsan", "libubsan"}) {
    names.erase(basic);
  }
  return names;
}

TEST(PluginAbi, ExportsExactlyWhatSlurmLooksUp) {
  EXPECT_THAT(exported(STINT_SPANK_PLUGIN),
              UnorderedElementsAre("plugin_name", "plugin_type", "plugin_version", "spank_plugin_version",
                                   "slurm_spank_init", "slurm_spank_init_post_opt"));
  EXPECT_THAT(exported(STINT_JOB_SUBMIT_PLUGIN),
              UnorderedElementsAre("plugin_name", "plugin_type", "plugin_version", "init", "fini",
                                   "job_submit", "job_modify"));
  EXPECT_THAT(exported(STINT_CLIENT_HALF), UnorderedElementsAre("stint_client_prepare"));
}

TEST(PluginAbi, NeedsOnlyTheCLibraryAndTheIniParser) {
  for (const char* plugin : {STINT_SPANK_PLUGIN, STINT_JOB_SUBMIT_PLUGIN, STINT_CLIENT_HALF}) {
    EXPECT_THAT(needed(plugin), ::testing::Contains("libc")) << plugin;
    EXPECT_THAT(needed_beyond_basics(plugin), ::testing::IsEmpty()) << plugin;
  }
}

TEST(PluginAbi, TheAlwaysLoadedPluginNeedsNoCppAtAll) {
  EXPECT_THAT(needed(STINT_SPANK_PLUGIN), ::testing::Not(::testing::Contains("libinih")));
  EXPECT_EQ(output_of(STINT_NM " -D --undefined-only " STINT_SPANK_PLUGIN).find("_Z"), std::string::npos);
}

}  // namespace
}  // namespace stint::spank
