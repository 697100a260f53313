// SPDX-License-Identifier: Apache-2.0
// Copies of the ledger, and the way back. A copy is one SQLite file, 0600, complete in itself, made while
// stintd runs. Either it is there in whole, or not at all.
#pragma once

#include <string>

namespace stint::reservations {

// Throws Error: no ledger there, the target cannot be written. A file of that name is replaced.
void back_up_ledger(const std::string& ledger, const std::string& file);

// Puts the copy in the ledger's place; the caller holds the ledger's lock. Returns where the ledger that was
// there stands now; empty: there was none. Throws Error when the file is no ledger, is damaged, or was made
// by a newer stintd; then nothing has changed.
std::string restore_ledger(const std::string& file, const std::string& ledger);

}  // namespace stint::reservations
