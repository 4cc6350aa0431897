/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "daemon/board/process_figures.h"

#include <dirent.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static double seconds_of(const struct timespec *t)
{
    return (double)t->tv_sec + (double)t->tv_nsec / 1e9;
}

/* /proc/stat has the time of the system's start, but a service may not see it:
 * the two clocks tell it, too. The first result is kept, since a correction of
 * the clock would look like a restart. */
static double unix_time(double since_boot)
{
    static _Atomic double first;
    struct timespec now, boot;
    double none = 0;

    if (atomic_load(&first) != 0)
        return atomic_load(&first);

    if (clock_gettime(CLOCK_REALTIME, &now) ||
        clock_gettime(CLOCK_BOOTTIME, &boot))
        return NAN;
    atomic_compare_exchange_strong(
        &first, &none, seconds_of(&now) - seconds_of(&boot) + since_boot);
    return atomic_load(&first);
}

/* proc(5): the second field, the program's name, ends with the last ')'. */
static void read_stat(struct process_figures *p)
{
    unsigned long long start, virtual_bytes;
    char line[1024], *rest;
    long threads, pages;
    FILE *f = fopen("/proc/self/stat", "re");
    size_t n = f ? fread(line, 1, sizeof line - 1, f) : 0;

    if (f)
        fclose(f);
    line[n] = '\0';
    rest = strrchr(line, ')');
    if (!rest || sscanf(rest + 1,
                        " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u "
                        "%*d %*d %*d %*d %ld %*d %llu %llu %ld",
                        &threads, &start, &virtual_bytes, &pages) != 4)
        return;
    p->threads = threads;
    p->virtual_bytes = (int64_t)virtual_bytes;
    p->resident_bytes = (int64_t)pages * sysconf(_SC_PAGESIZE);
    p->start_seconds = unix_time((double)start / (double)sysconf(_SC_CLK_TCK));
}

static int64_t count_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int64_t n = -3; /* ".", ".." and the folder itself */

    if (!dir)
        return -1;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

void process_figures_read(struct process_figures *p)
{
    struct rlimit files;
    struct timespec cpu;

    *p = (struct process_figures){NAN, NAN, -1, -1, -1, -1, -1};
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0)
        p->cpu_seconds = seconds_of(&cpu);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 &&
        files.rlim_cur != RLIM_INFINITY)
        p->max_files = (int64_t)files.rlim_cur;
    p->open_files = count_files();
    read_stat(p);
}
