/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/timing.h"

#include <errno.h>
#include <stdio.h>

#include "base/err.h"

/* The years 1000 to 9999, which have four digits. */
#define ISO_FIRST_MS INT64_C(-30610224000000)
#define ISO_LAST_MS INT64_C(253402300799999)

static const _Atomic int64_t *fake_ms;

static struct timespec read_clock(clockid_t clock)
{
    struct timespec ts;

    if (clock_gettime(clock, &ts))
        BUG("clock_gettime(%d)", (int)clock);
    return ts;
}

int64_t timing_mono_ns(void)
{
    struct timespec ts;

    if (fake_ms)
        return *fake_ms * 1000000;
    ts = read_clock(CLOCK_MONOTONIC);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t timing_mono_ms(void)
{
    return timing_mono_ns() / 1000000;
}

int64_t timing_wall_ms(void)
{
    struct timespec ts;

    if (fake_ms)
        return *fake_ms;
    ts = read_clock(CLOCK_REALTIME);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t timing_thread_cpu_ns(void)
{
    struct timespec ts;

    if (fake_ms)
        return *fake_ms * 1000000;
    ts = read_clock(CLOCK_THREAD_CPUTIME_ID);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

double timing_seconds_since(int64_t mono_ns)
{
    return (double)(timing_mono_ns() - mono_ns) * 1e-9;
}

void timing_sleep_ms(int64_t ms)
{
    struct timespec left = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};

    if (ms <= 0)
        return;
    while (nanosleep(&left, &left) && errno == EINTR)
        ;
}

struct timespec timing_deadline(int64_t ms)
{
    struct timespec ts = read_clock(CLOCK_MONOTONIC);

    if (ms < 0)
        ms = 0;
    ts.tv_sec += (time_t)(ms / 1000);
    ts.tv_nsec += (long)(ms % 1000) * 1000000;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_sec++;
        ts.tv_nsec -= 1000000000;
    }
    return ts;
}

int timing_wait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                const struct timespec *deadline)
{
    int rc = pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, deadline);

    BUG_ON(rc != 0 && rc != ETIMEDOUT);
    return rc;
}

void timing_iso8601(int64_t wall_ms, char out[TIMING_ISO_MAX])
{
    struct tm tm;
    time_t seconds;
    size_t used;
    int ms;

    if (wall_ms < ISO_FIRST_MS)
        wall_ms = ISO_FIRST_MS;
    if (wall_ms > ISO_LAST_MS)
        wall_ms = ISO_LAST_MS;
    /* Rounds down, also before 1970. */
    ms = (int)((wall_ms % 1000 + 1000) % 1000);
    seconds = (time_t)((wall_ms - ms) / 1000);
    if (!gmtime_r(&seconds, &tm))
        BUG("gmtime_r(%lld)", (long long)seconds);
    used = strftime(out, TIMING_ISO_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + used, TIMING_ISO_MAX - used, ".%03dZ", ms);
}

void timing_set_fake(const _Atomic int64_t *now_ms)
{
    fake_ms = now_ms;
}
