// SPDX-License-Identifier: Apache-2.0
// Pauses that are measured with the wall clock, which may be set back under them.
#pragma once

namespace stint::reservations {

// Whether `until` is still to come. It was set at most `longest` ahead: what lies further ahead is of a clock
// that was set back since, and nothing waits for that. All in seconds.
inline bool waits_until(double until, double longest, double now) {
  return now < until && until - now <= longest;
}

}  // namespace stint::reservations
