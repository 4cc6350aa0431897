/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/operation.h"

#include <stdio.h>

#include "cli/client.h"
#include "cli/pick.h"
#include "cli/table.h"

/* The source's answer (10 s) and the writing of a version come before. */
#define OPERATION_MS 120000

int operation_run(const struct verb_args *args, const char *path,
                  json_t *body, json_t **operation, struct err *err)
{
    struct client *c = NULL;
    json_t *reply = NULL;
    int rc = client_open(args, &c, err);

    if (rc)
        json_decref(body);
    else
        rc = client_post(c, path, body, &reply, err);
    if (rc == 0)
        rc = client_wait(c, reply, OPERATION_MS, operation, err);
    client_free(c);
    return rc;
}

int operation_carry_out(const struct verb_args *args, const char *path,
                        json_t *body, const char *otherwise, struct err *err)
{
    json_t *operation = NULL;
    const char *detail;
    int rc = operation_run(args, path, body, &operation, err);

    if (rc)
        return rc;
    detail = pick_text(operation, "detail");
    if (verb_has(args, "json")) {
        pick_print(operation);
    } else {
        table_print_name(detail && *detail ? detail : otherwise, stdout);
        putchar('\n');
    }
    json_decref(operation);
    return 0;
}
