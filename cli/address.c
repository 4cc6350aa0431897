/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/address.h"

#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fileio.h"
#include "base/xalloc.h"

static bool is_same(const struct sockaddr *a, const struct sockaddr *b)
{
    if (!b || a->sa_family != b->sa_family)
        return false;
    if (a->sa_family == AF_INET)
        return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)b)->sin_addr.s_addr;
    return a->sa_family == AF_INET6 &&
           memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
                  &((const struct sockaddr_in6 *)b)->sin6_addr,
                  sizeof(struct in6_addr)) == 0;
}

/* True for loopback, and for an address that stands for all interfaces. */
static bool is_loopback(const struct sockaddr *a)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;

    if (a->sa_family == AF_INET)
        return ntohl(v4->sin_addr.s_addr) >> 24 == 127 ||
               v4->sin_addr.s_addr == htonl(INADDR_ANY);
    return a->sa_family == AF_INET6 &&
           (IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
            IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr));
}

static bool is_of_interface(const struct sockaddr *a)
{
    struct ifaddrs *all = NULL;
    bool found = false;

    if (getifaddrs(&all) != 0)
        return false;
    for (const struct ifaddrs *i = all; i && !found; i = i->ifa_next)
        found = is_same(a, i->ifa_addr);
    freeifaddrs(all);
    return found;
}

/* Accepts only numbers, because a name server may be on another machine. */
static bool is_local_host(const char *host)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST};
    struct addrinfo *found = NULL;
    bool local;

    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return false;
    local = is_loopback(found->ai_addr) || is_of_interface(found->ai_addr);
    freeaddrinfo(found);
    return local;
}

/* True for "HOST:PORT" or "[HOST]:PORT" with a host that is_local_host, which
 * https:// may precede. */
static bool is_local(const char *text)
{
    const char *address = strncmp(text, "https://", 8) ? text : text + 8;
    const char *colon = strrchr(address, ':');
    size_t n = colon ? (size_t)(colon - address) : 0;
    bool bracketed = n > 2 && address[0] == '[' && address[n - 1] == ']';
    bool local = false;
    char *host;

    if (!colon || !colon[1] || strlen(colon + 1) > 5 ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return false;
    host = bracketed ? xstrndup(address + 1, n - 2) : xstrndup(address, n);
    if (bracketed || !strchr(host, ':'))
        local = is_local_host(host);
    free(host);
    return local;
}

int address_read(const char *data_dir, const char *name, char **address,
                 struct err *err)
{
    char *path = fileio_join(data_dir, name);
    struct buf text = BUF_INIT;
    int rc = 0;

    *address = NULL;
    if (fileio_read(path, 4096, &text, NULL) == 0 && text.len) {
        text.data[strcspn(text.data, "\r\n")] = '\0';
        if (!strncmp(text.data, "unix:/", 6) || is_local(text.data))
            *address = xstrdup(text.data);
        else if (text.data[0])
            rc = err_set(err, ERR_CORRUPT,
                         "%s: not an address of this machine: delete the "
                         "file, or give the address as an option",
                         path);
    }
    buf_release(&text);
    free(path);
    return rc;
}

int address_of_daemon(const char *data_dir, char **address, struct err *err)
{
    if (address_read(data_dir, "admin.addr", address, NULL) == 0 && *address) {
        if (!strncmp(*address, "unix:", 5) && !access(*address + 5, W_OK))
            return 0;
        free(*address);
    }
    return address_read(data_dir, "http.addr", address, err);
}
