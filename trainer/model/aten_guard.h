// SPDX-License-Identifier: Apache-2.0
// How torch is called: without derivatives, and with its exceptions as ours. Includes torch's headers.
#pragma once

#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <string>

#include "trainer/model/device.h"

namespace stint::model::aten {

// Torch's messages carry a stack of frames behind their first line.
template <typename Body>
auto guarded(Body&& body) {
  try {
    const c10::NoGradGuard no_derivatives;
    return body();
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    throw DeviceFailure(text.substr(0, text.find('\n')));
  }
}

}  // namespace stint::model::aten
