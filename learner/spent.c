/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "learner/spent.h"

struct spent *spent_to;
