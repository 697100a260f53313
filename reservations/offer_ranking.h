// SPDX-License-Identifier: Apache-2.0
// In which order offers are shown, and why. Pure.
#pragma once

#include <cstddef>
#include <vector>

#include "reservations/offers.h"

namespace stint::reservations {

// Offers of one block first, then those of several, each in the order asked for; by finish, those that are
// best in something first. Says of each why it is there, keeps `most`: of these at most half are splits where
// there are blocks enough, so that neither kind pushes out the other.
void rank(std::vector<Offer>& offers, OfferOrder order, std::size_t most);

}  // namespace stint::reservations
