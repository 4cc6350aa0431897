/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token create: makes a random token, and its line for http.token_file.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/checksum.h"
#include "cli/pick.h"
#include "cli/verb.h"
#include "conf/conf.h"

#define RANDOM_BYTES 32
#define PREFIX "mneme_" /* so that a scanner for secrets knows it */

static int make_token(char *token, size_t size, struct err *err)
{
    unsigned char bytes[RANDOM_BYTES];
    size_t n = strlen(PREFIX);

    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        return err_set_errno(err, ERR_IO, errno, "getrandom");
    snprintf(token, size, "%s", PREFIX);
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(token + n + 2 * i, size - n - 2 * i, "%02x", bytes[i]);
    return 0;
}

static void print_token(const struct verb_args *args, const char *token,
                        const char *scope, int64_t rate)
{
    char digest[SHA256_HEX], line[160];
    json_t *json;

    checksum_sha256(token, strlen(token), digest);
    snprintf(line, sizeof line, "%s sha256:%s", scope, digest);
    if (rate)
        snprintf(line + strlen(line), sizeof line - strlen(line),
                 " rate=%" PRId64, rate);
    if (!verb_has(args, "json")) {
        printf("token  %s\nline   %s\n", token, line);
        return;
    }
    json = json_pack("{s:s, s:s, s:s, s:s}", "token", token, "line", line,
                     "scope", scope, "sha256", digest);
    pick_print(json);
    json_decref(json);
}

int cmd_token(const struct verb_args *args, struct err *err)
{
    const char *scope = verb_value(args, "scope");
    char token[sizeof PREFIX + 2 * RANDOM_BYTES];
    int64_t rate = 0;
    int rc = verb_integer(args, "rate", 1, 999999, &rate, err);

    scope = scope ? scope : "infer";
    if (rc == 0 && strcmp(args->words[0], "create") != 0)
        rc = err_set(err, ERR_INVALID, "%s: the only word is create",
                     args->words[0]);
    else if (rc == 0 && conf_scope_of(scope) == CONF_SCOPE_NONE)
        rc = err_set(err, ERR_INVALID, "--scope: %s: must be " CONF_SCOPES,
                     scope);
    if (rc == 0)
        rc = make_token(token, sizeof token, err);
    if (rc == 0)
        print_token(args, token, scope, rate);
    return rc;
}
