// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "compare/report/figure.h"
#include "compare/report/report.h"

namespace airlock::compare {

/// Every plot of a page about `report`, in order.
[[nodiscard]] std::vector<Figure> figures_of(const Report& report);

}  // namespace airlock::compare
