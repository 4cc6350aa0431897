/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "learner/kernels/spent.h"

struct spent *spent_to;
