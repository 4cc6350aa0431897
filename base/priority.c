/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/priority.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NICENESS 19

void priority_lower(void)
{
    /* Linux accepts a thread's id, and changes that thread only. */
    id_t self = (id_t)syscall(SYS_gettid);

    (void)setpriority(PRIO_PROCESS, self, NICENESS);
}
