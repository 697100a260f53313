// SPDX-License-Identifier: Apache-2.0
// fmt's definitions, compiled once for programs and plugins alike: the plugins must not bring a libfmt.so
// into Slurm's processes, and the header-only mode doubles the time of every compilation.
#include <fmt/format-inl.h>

FMT_BEGIN_NAMESPACE
namespace detail {
template void vformat_to(buffer<char>&, string_view, basic_format_args<FMT_BUFFER_CONTEXT(char)>, locale_ref);
template void buffer<char>::append(const char*, const char*);
template std::locale locale_ref::get<std::locale>() const;
template thousands_sep_result<char> thousands_sep_impl(locale_ref);
template char decimal_point_impl(locale_ref);
template dragonbox::decimal_fp<float> dragonbox::to_decimal(float);
template dragonbox::decimal_fp<double> dragonbox::to_decimal(double);
}  // namespace detail
FMT_END_NAMESPACE
