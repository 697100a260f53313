#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each check finds what it is for, in a small tree with a planted fault, and nothing in a clean one."""
import os
import pathlib
import shutil
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import arrows, format, libraries, packages, readme, shell, spdx  # noqa: E401, E402

HEAD = "// SPDX-License-Identifier: Apache-2.0\n"
ROOT = pathlib.Path(__file__).resolve().parents[2]


class Tree(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)
        shutil.copy(ROOT / ".clang-format", self.root)
        self.write("base/a.h", HEAD + "#pragma once\n")

    def write(self, name, text):
        path = pathlib.Path(self.root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def finds(self, module, *expected):
        findings = module.check(self.root)
        self.assertEqual(len(findings), len(expected), findings)
        for finding, part in zip(findings, expected):
            self.assertIn(part, finding)

    def test_clean_tree_has_no_findings(self):
        self.write("trainer/agent/a.cc", HEAD + '#include <poll.h>\n\n#include "base/a.h"\n#include "recipes/b.h"\n')
        self.write("run", "#!/usr/bin/env bash\n# SPDX-License-Identifier: Apache-2.0\nexec true\n")
        self.write("README.md", "[licence](base/a.h), `base/`, `./run now`, `stint-train`, [x](https://x.y/z)\n")
        for module in (arrows, spdx, format, shell, readme):
            self.finds(module)

    def test_arrows_between_rooms(self):
        self.write("base/b.cc", HEAD + '#include "recipes/recipe.h"\n')
        self.write("recipes/b.cc", HEAD + '#include "tests/x.h"\n')
        self.write("spank/b.c", HEAD + '#include "trainer/agent/a.h"\n')
        self.write("trainer/agent/b.cc", HEAD + '#include "trainer/engine/e.h"\n')
        self.write("trainer/comm/b.cc", HEAD + '  #  include "reservations/r.h"\n')
        self.finds(arrows, "base/b.cc:2: base/ may not include recipes/recipe.h", "recipes/ may not include tests/x.h",
                   "spank/ may not include trainer/agent/a.h", "trainer/agent/ may not include trainer/engine/e.h",
                   "trainer/ may not include reservations/r.h")

    def test_foreign_headers_in_the_wrong_place(self):
        self.write("base/b.cc", HEAD + "#include <slurm/slurm.h>\n")
        self.write("reservations/plan.cc", HEAD + "#include <slurm/slurm.h>\n")
        self.write("reservations/slurm_cluster.cc", HEAD + "#include <slurm/slurm.h>\n")
        self.write("trainer/agent/b.cc", HEAD + "#include <torch/torch.h>\n")
        self.write("trainer/engine/b.cc", HEAD + "#include <torch/torch.h>\n")
        self.finds(arrows, "base/b.cc:2", "reservations/plan.cc:2", "trainer/agent/b.cc:2: <torch/torch.h>")

    def test_missing_licence(self):
        self.write("base/b.cc", "int x;\n" * 4)
        self.write("tool", "#!/usr/bin/env python3\n")
        self.write("CMakeLists.txt", "project(x)\n")
        self.write("notes.txt", "no source\n")
        self.write("spank/a.map", "{ local: *; };\n")
        self.finds(spdx, "CMakeLists.txt:1", "base/b.cc:1", "spank/a.map:1", "tool:1")

    def test_wrong_format(self):
        self.write("base/b.cc", HEAD + "int   x ;\n")
        self.finds(format, "base/b.cc:2")

    def test_shell_fault(self):
        self.write("run", "#!/usr/bin/env bash\nrm $1\n")
        self.finds(shell, "run:2:4")

    def test_document_that_names_what_is_not_there(self):
        self.write("README.md", "`base/none.h`\n[x](INSTALL.md)\n`./go`\n")
        self.finds(readme, "README.md:1: 'base/none.h'", "README.md:2: 'INSTALL.md'", "README.md:3: './go'")

    def test_library_that_a_plugin_may_not_need(self):
        self.assertEqual(libraries.check([shutil.which("true")]), [])
        findings = libraries.check([shutil.which("git")])
        self.assertTrue(any("libz.so" in finding for finding in findings), findings)

    def test_package_of_a_library_that_the_instructions_do_not_name(self):
        document = pathlib.Path(self.root, "INSTALL.md")
        document.write_text("# apt-get install libz1\n", encoding="utf-8")
        self.assertEqual(packages.check(document, [shutil.which("true")]), [])
        findings = packages.check(document, [shutil.which("git")])
        self.assertTrue(any("zlib1g of libz.so" in finding for finding in findings), findings)


if __name__ == "__main__":
    unittest.main()
