/* SPDX-License-Identifier: Apache-2.0 */
/*
 * C11 threads as POSIX threads, for ThreadSanitizer.
 *
 * librdkafka calls thrd_create, mtx_lock and the like. GCC's ThreadSanitizer
 * does not know them: such a thread crashes in it, and what such a lock orders
 * is reported as a race. glibc's types are those of pthreads under other names.
 * Load this before a program that was built with --enable-tsan:
 *
 *     LD_PRELOAD=$PWD/tests/tsan_preload.so tests/daemon/stream/test_source_kafka
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <threads.h>
#include <time.h>

_Static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t), "the same type");
_Static_assert(sizeof(cnd_t) == sizeof(pthread_cond_t), "the same type");

static int result(int errnum)
{
    return errnum == 0           ? thrd_success
           : errnum == EBUSY     ? thrd_busy
           : errnum == ETIMEDOUT ? thrd_timedout
           : errnum == ENOMEM    ? thrd_nomem
                                 : thrd_error;
}

int thrd_create(thrd_t *thread, thrd_start_t run, void *arg)
{
    /* The result, an int, comes in the register of a pointer. */
    return result(pthread_create(thread, NULL, (void *(*)(void *))(void *)run,
                                 arg));
}

int thrd_join(thrd_t thread, int *status)
{
    void *value = NULL;
    int errnum = pthread_join(thread, &value);

    if (status)
        *status = (int)(intptr_t)value;
    return result(errnum);
}

int thrd_detach(thrd_t thread)
{
    return result(pthread_detach(thread));
}

int mtx_init(mtx_t *m, int type)
{
    pthread_mutexattr_t attr;
    int errnum;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, type & mtx_recursive
                                         ? PTHREAD_MUTEX_RECURSIVE
                                         : PTHREAD_MUTEX_NORMAL);
    errnum = pthread_mutex_init((pthread_mutex_t *)m, &attr);
    pthread_mutexattr_destroy(&attr);
    return result(errnum);
}

void mtx_destroy(mtx_t *m)
{
    pthread_mutex_destroy((pthread_mutex_t *)m);
}

int mtx_lock(mtx_t *m)
{
    return result(pthread_mutex_lock((pthread_mutex_t *)m));
}

int mtx_trylock(mtx_t *m)
{
    return result(pthread_mutex_trylock((pthread_mutex_t *)m));
}

int mtx_unlock(mtx_t *m)
{
    return result(pthread_mutex_unlock((pthread_mutex_t *)m));
}

int cnd_init(cnd_t *c)
{
    return result(pthread_cond_init((pthread_cond_t *)c, NULL));
}

void cnd_destroy(cnd_t *c)
{
    pthread_cond_destroy((pthread_cond_t *)c);
}

int cnd_signal(cnd_t *c)
{
    return result(pthread_cond_signal((pthread_cond_t *)c));
}

int cnd_broadcast(cnd_t *c)
{
    return result(pthread_cond_broadcast((pthread_cond_t *)c));
}

int cnd_wait(cnd_t *c, mtx_t *m)
{
    return result(
        pthread_cond_wait((pthread_cond_t *)c, (pthread_mutex_t *)m));
}

int cnd_timedwait(cnd_t *c, mtx_t *m, const struct timespec *until)
{
    return result(pthread_cond_timedwait((pthread_cond_t *)c,
                                         (pthread_mutex_t *)m, until));
}
